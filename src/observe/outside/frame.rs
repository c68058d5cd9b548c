//! A frame of a stack at this moment, of Python or of native code.
//!
//! Invariant: plain values. Neighbours: `now` and `native` make them, `commands::dump` prints them.

/// A frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameNow {
    /// Function; the address if no symbol covers the address.
    pub function: String,
    /// File of the code, or the library of a native frame.
    pub file: String,
    /// Line; `None` for a native frame.
    pub line: Option<u32>,
    /// True if C code entered the frame.
    pub(super) entry: bool,
}

impl FrameNow {
    /// A native frame of `library`.
    pub(super) fn native(function: String, library: String) -> Self {
        Self { function, file: library, line: None, entry: false }
    }
}
