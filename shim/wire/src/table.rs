//! How the records, numbers and flags of the wire are declared: once, by name.
//!
//! Job: one statement of [`records!`] gives a struct, its [`Kind`](crate::Kind), its reading, a check that it has no
//! padding, and a row that docs/design/wire.md is made from; [`numbers!`] and [`flags!`] do the same for what a field
//! may say. Invariant: every bit pattern is a valid value of every type here, so that shared memory may hold anything;
//! and reading is total. Neighbours: `records` and `values` (the tables), `transport::decode` (reads), `arena::ring`
//! (writes).

/// Bytes that are read front to back as plain values.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next `count` bytes; `None` where there are fewer.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    /// The next value; `None` where the bytes end before it does.
    pub fn read<T: Plain>(&mut self) -> Option<T> {
        T::read(self)
    }
}

/// A value of fixed size, in the machine's byte order.
pub trait Plain: Sized {
    /// Its size.
    const BYTES: usize;
    /// Its name in the documentation.
    const NAME: &'static str;
    /// Reads it; `None` where the bytes end before it does.
    fn read(bytes: &mut Bytes<'_>) -> Option<Self>;
}

macro_rules! plain {
    ($($type:ident)+) => {$(
        impl Plain for $type {
            const BYTES: usize = size_of::<$type>();
            const NAME: &'static str = stringify!($type);

            fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
                Some(Self::from_ne_bytes(bytes.take(Self::BYTES)?.try_into().ok()?))
            }
        }
    )+};
}
plain!(u8 u16 u32 u64);

/// Flags of a record's header.
pub trait Flags: Copy {
    /// Their name in the documentation.
    const NAME: &'static str;
    /// The flags of a header's byte.
    fn of(bits: u8) -> Self;
    /// The byte of the header.
    fn bits(self) -> u8;
}

/// The flags of a record that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoFlags;

impl Flags for NoFlags {
    const NAME: &'static str = "";

    fn of(_: u8) -> Self {
        Self
    }

    fn bits(self) -> u8 {
        0
    }
}

/// The fixed part of a record.
pub trait Record: Plain + Copy {
    /// Its number in the header.
    const KIND: crate::Kind;
    /// What the header's flags say of it.
    type Flags: Flags;
}

/// A field of a record, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    /// Its name.
    pub name: &'static str,
    /// Name of its type.
    pub of: &'static str,
    /// Its size.
    pub bytes: usize,
    /// What it means, a line an element.
    pub about: &'static [&'static str],
}

/// A record, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct RecordRow {
    /// Its name.
    pub name: &'static str,
    /// Its number in the header.
    pub kind: u8,
    /// Name of the type of its header's flags; empty without.
    pub flags: &'static str,
    /// What it says, a line an element.
    pub about: &'static [&'static str],
    /// What follows its fixed part; empty where nothing does.
    pub then: &'static str,
    /// Its fields, in their order.
    pub fields: &'static [FieldRow],
}

/// One value of a number or one flag, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct ValueRow {
    /// Its name.
    pub name: &'static str,
    /// As it stands on the wire.
    pub number: u64,
    /// What it means, a line an element.
    pub about: &'static [&'static str],
}

/// A type of numbers or of flags, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct ValuesRow {
    /// Its name.
    pub name: &'static str,
    /// What it tells, a line an element.
    pub about: &'static [&'static str],
    /// Its values.
    pub values: &'static [ValueRow],
}

/// Declares the records: `Name = number`, the type of the header's flags in brackets, what follows the fixed part, and
/// the fields.
macro_rules! records {
    ($(
        $(#[doc = $about:literal])+
        $name:ident = $number:literal $([$flags:ident])? $(then $then:literal)? {
            $($(#[doc = $meaning:literal])+ $field:ident: $type:ident,)+
        }
    )+) => {
        /// What a record says.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $about])+ $name = $number,)+
        }

        impl Kind {
            /// The kind of a header's number; `None` for one that this build does not know.
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                Some(match number {
                    $($number => Self::$name,)+
                    _ => return None,
                })
            }
        }

        $(
            $(#[doc = $about])+
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
            pub struct $name {
                $($(#[doc = $meaning])+ pub $field: $type,)+
            }

            impl Plain for $name {
                const BYTES: usize = 0 $(+ <$type as Plain>::BYTES)+;
                const NAME: &'static str = stringify!($name);

                fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
                    Some(Self { $($field: bytes.read()?,)+ })
                }
            }

            // No padding: its bytes are written as they lie in memory, and read field by field.
            const _: () = assert!(size_of::<$name>() == <$name as Plain>::BYTES);

            impl Record for $name {
                const KIND: Kind = Kind::$name;
                type Flags = records!(@flags $($flags)?);
            }
        )+

        /// All records, in the order of their declaration.
        pub const RECORDS: &[RecordRow] = &[$(
            RecordRow {
                name: stringify!($name),
                kind: $number,
                flags: <records!(@flags $($flags)?) as Flags>::NAME,
                about: &[$($about),+],
                then: concat!($($then)?),
                fields: &[$(
                    FieldRow {
                        name: stringify!($field),
                        of: <$type as Plain>::NAME,
                        bytes: <$type as Plain>::BYTES,
                        about: &[$($meaning),+],
                    },
                )+],
            },
        )+];
    };
    (@flags) => { NoFlags };
    (@flags $flags:ident) => { $flags };
}
pub(crate) use records;

/// Declares numbers with names: `Name: type { VALUE = number, .. }`.
macro_rules! numbers {
    ($(
        $(#[doc = $about:literal])+
        $name:ident: $type:ident {
            $($(#[doc = $meaning:literal])+ $value:ident = $number:literal,)+
        }
    )+) => {
        $(
            $(#[doc = $about])+
            #[repr(transparent)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
            pub struct $name($type);

            impl $name {
                $($(#[doc = $meaning])+ pub const $value: Self = Self($number);)+

                /// The number as it was read; one that this build does not know has no name.
                #[must_use]
                pub const fn of(number: $type) -> Self {
                    Self(number)
                }

                /// As it stands on the wire.
                #[must_use]
                pub const fn number(self) -> $type {
                    self.0
                }

                /// Its name, as it is declared; `None` for a number that this build does not know.
                #[must_use]
                pub const fn name(self) -> Option<&'static str> {
                    Some(match self.0 {
                        $($number => stringify!($value),)+
                        _ => return None,
                    })
                }
            }

            impl Plain for $name {
                const BYTES: usize = <$type as Plain>::BYTES;
                const NAME: &'static str = stringify!($name);

                fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
                    Some(Self(bytes.read()?))
                }
            }
        )+

        /// All types of numbers.
        pub const NUMBERS: &[ValuesRow] = &[$(
            ValuesRow {
                name: stringify!($name),
                about: &[$($about),+],
                values: &[$(
                    ValueRow { name: stringify!($value), number: $number, about: &[$($meaning),+] },
                )+],
            },
        )+];
    };
}
pub(crate) use numbers;

/// Declares flags with names: `Name: type { FLAG = bit, .. }`.
macro_rules! flags {
    ($(
        $(#[doc = $about:literal])+
        $name:ident: $type:ident {
            $($(#[doc = $meaning:literal])+ $value:ident = $bits:literal,)+
        }
    )+) => {
        $(
            $(#[doc = $about])+
            #[repr(transparent)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
            pub struct $name($type);

            impl $name {
                /// No flag.
                pub const NONE: Self = Self(0);
                $($(#[doc = $meaning])+ pub const $value: Self = Self($bits);)+

                /// The flags of a number.
                #[must_use]
                pub const fn of(bits: $type) -> Self {
                    Self(bits)
                }

                /// As they stand on the wire.
                #[must_use]
                pub const fn bits(self) -> $type {
                    self.0
                }

                /// Is one of those `flags` set?
                #[must_use]
                pub const fn has(self, flags: Self) -> bool {
                    self.0 & flags.0 != 0
                }

                /// These and `flags`.
                #[must_use]
                pub const fn and(self, flags: Self) -> Self {
                    Self(self.0 | flags.0)
                }

                /// These, and `flags` where `set`.
                #[must_use]
                pub const fn and_if(self, set: bool, flags: Self) -> Self {
                    if set { self.and(flags) } else { self }
                }
            }

            impl Plain for $name {
                const BYTES: usize = <$type as Plain>::BYTES;
                const NAME: &'static str = stringify!($name);

                fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
                    Some(Self(bytes.read()?))
                }
            }

            flags!(@header $name $type);
        )+

        /// All types of flags.
        pub const FLAGS: &[ValuesRow] = &[$(
            ValuesRow {
                name: stringify!($name),
                about: &[$($about),+],
                values: &[$(
                    ValueRow { name: stringify!($value), number: $bits, about: &[$($meaning),+] },
                )+],
            },
        )+];
    };
    // Flags of one byte may stand in a record's header.
    (@header $name:ident u8) => {
        impl Flags for $name {
            const NAME: &'static str = stringify!($name);

            fn of(bits: u8) -> Self {
                Self(bits)
            }

            fn bits(self) -> u8 {
                self.0
            }
        }
    };
    (@header $name:ident $type:ident) => {};
}
pub(crate) use flags;
