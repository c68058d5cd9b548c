//! A buffer in which this library builds a command for a shell.
//!
//! Job: build a text in memory that comes from the kernel, not from an allocator. Invariant: the text always ends with
//! NUL, and [`ShellText::whole`] never returns a text of which a part is missing. Callers: `life::shell` and `life::exec`.

use core::ffi::c_char;

use crate::ground::sys;

/// A text that grows in a mapping of its own. If a part does not fit, `whole` becomes false.
pub(crate) struct ShellText {
    start: *mut u8,
    capacity: usize,
    length: usize,
    whole: bool,
}

impl ShellText {
    /// An empty text in a buffer of `capacity` bytes; `None` if the system gives no memory.
    pub(crate) fn new(capacity: usize) -> Option<Self> {
        let start = sys::map_private(capacity);
        (!start.is_null()).then_some(Self { start, capacity, length: 0, whole: true })
    }

    /// Appends bytes; the last byte stays zero.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.length + 1 >= self.capacity {
                self.whole = false;
                return;
            }
            // SAFETY: the mapping has `capacity` bytes, and `length` is below.
            unsafe { self.start.add(self.length).write(*byte) };
            self.length += 1;
        }
    }

    /// The text, which ends with NUL; `None` if a part did not fit.
    pub(crate) fn whole(&self) -> Option<*const c_char> {
        self.whole.then_some(self.start.cast_const().cast())
    }

    /// Appends a word between single quotes, as a shell reads it.
    pub(crate) fn quote(&mut self, bytes: &[u8]) {
        self.add(b"'");
        for byte in bytes {
            self.add(if *byte == b'\'' { b"'\\''" } else { core::slice::from_ref(byte) });
        }
        self.add(b"'");
    }
}

impl Drop for ShellText {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { sys::unmap(self.start, self.capacity) };
    }
}
