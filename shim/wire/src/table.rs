//! Macros that declare the records, numbers and flags of the wire, each in a single place.
//!
//! Job: an entry in [`records!`] makes a struct, its [`Kind`](crate::Kind), a function that reads the struct, a check
//! against padding, and a row of docs/design/wire.md. [`numbers!`] and [`flags!`] do the same for the values of fields.
//! Invariant: every bit pattern is a valid value of every type made here, because another process may write any bytes
//! into shared memory. So reading fails only if bytes are missing. Neighbours: `records` and `values` (the
//! declarations), `transport::decode` (reads), `arena::ring` (writes).

/// Bytes from which plain values are read, from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next `count` bytes; `None` if fewer are left.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    /// The next value; `None` if too few bytes are left.
    pub fn read<T: Plain>(&mut self) -> Option<T> {
        T::read(self)
    }
}

/// A value of fixed size, in the machine's byte order.
pub trait Plain: Sized {
    /// Size of the value in bytes.
    const BYTES: usize;
    /// Name of the type in the documentation.
    const NAME: &'static str;
    /// Reads a value; `None` if too few bytes are left.
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
    /// Name of the type in the documentation.
    const NAME: &'static str;
    /// The flags of a header's byte.
    fn of(bits: u8) -> Self;
    /// The byte of the header.
    fn bits(self) -> u8;
}

/// The type of flags of a record without flags.
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
    /// The record's number in the header.
    const KIND: crate::Kind;
    /// Type of the flags in the record's header.
    type Flags: Flags;
}

/// A field of a record, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    /// Name of the field.
    pub name: &'static str,
    /// Name of the field's type.
    pub of: &'static str,
    /// Size of the field in bytes.
    pub bytes: usize,
    /// Meaning of the field; each element is a line.
    pub about: &'static [&'static str],
}

/// A record, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct RecordRow {
    /// Name of the record.
    pub name: &'static str,
    /// Number of the record in the header.
    pub kind: u8,
    /// Name of the type of the flags in the header; empty for a record without flags.
    pub flags: &'static str,
    /// Meaning of the record; each element is a line.
    pub about: &'static [&'static str],
    /// Content of the variable part, which follows the fixed part; empty without a variable part.
    pub then: &'static str,
    /// The fields, in the order of the bytes.
    pub fields: &'static [FieldRow],
}

/// A named number or a flag, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct ValueRow {
    /// Name of the number or flag.
    pub name: &'static str,
    /// The number on the wire; for a flag, its bit.
    pub number: u64,
    /// Meaning of the number or flag; each element is a line.
    pub about: &'static [&'static str],
}

/// A type of numbers or of flags, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct ValuesRow {
    /// Name of the type.
    pub name: &'static str,
    /// Meaning of the type; each element is a line.
    pub about: &'static [&'static str],
    /// All values of the type.
    pub values: &'static [ValueRow],
}

/// Declares the records. An entry has `Name = number`, the type of the header's flags in brackets, a description of the
/// variable part after `then`, and the fields.
macro_rules! records {
    ($(
        $(#[doc = $about:literal])+
        $name:ident = $number:literal $([$flags:ident])? $(then $then:literal)? {
            $($(#[doc = $meaning:literal])+ $field:ident: $type:ident,)+
        }
    )+) => {
        /// The kind of a record.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $about])+ $name = $number,)+
        }

        impl Kind {
            /// The kind for a header's number; `None` for a number unknown to this build.
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

            // The struct must have no padding: the shim writes its memory as a whole, and `read` reads field by field.
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

                /// Wraps a number from the wire. A number unknown to this build is kept, but has no name.
                #[must_use]
                pub const fn of(number: $type) -> Self {
                    Self(number)
                }

                /// The number on the wire.
                #[must_use]
                pub const fn number(self) -> $type {
                    self.0
                }

                /// The declared name of the number; `None` for a number unknown to this build.
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

                /// The flags as a number on the wire.
                #[must_use]
                pub const fn bits(self) -> $type {
                    self.0
                }

                /// Is at least a single flag of `flags` set?
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
