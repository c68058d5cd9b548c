//! Where the bytes of a line are read: the shim's exact counters, the resident size, or nowhere.
//!
//! Job: one reading of this thread's net bytes in a few nanoseconds. Invariant: a reading never allocates. Neighbour:
//! `engine` subtracts what the profiler itself took.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, OnceLock};

/// What a table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Time alone.
    Nothing,
    /// Bytes that this thread allocated less those it freed.
    Exact,
    /// The process' resident bytes.
    Resident,
}

/// Resident bytes of this process now; 0 where `/proc` does not say.
pub(super) fn resident_bytes() -> i64 {
    static STATM: Mutex<Option<(u32, File)>> = Mutex::new(None);
    let Ok(mut kept) = STATM.lock() else { return 0 };
    let pid = std::process::id();
    // After a fork the file would still be the parent's.
    if kept.as_ref().is_none_or(|(of, _)| *of != pid) {
        *kept = File::open("/proc/self/statm").ok().map(|file| (pid, file));
    }
    let Some((_, file)) = kept.as_ref() else { return 0 };
    let mut text = [0_u8; 128];
    // SAFETY: the buffer is as long as stated, and the file stays open for the life of the process.
    let length = unsafe { libc::pread(file.as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0) };
    let text = text.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
    let pages = text.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    pages.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit.wrapping_sub(b'0'))) * page_bytes()
}

fn page_bytes() -> i64 {
    static PAGE: OnceLock<i64> = OnceLock::new();
    // SAFETY: sysconf has no preconditions.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) })
}

/// This thread's exact counters, while a session that counts bytes runs on it.
pub(super) struct Mine;

impl Mine {
    pub(super) const fn new() -> Self {
        Self
    }

    #[inline(always)]
    pub(super) fn take(&mut self) -> (i64, i64) {
        (0, 0)
    }

    #[inline(always)]
    pub(super) fn net(&self) -> i64 {
        0
    }

    pub(super) fn attach(&mut self) {}

    pub(super) fn detach(&mut self) {}
}

pub(super) fn prepare() -> pyo3::PyResult<()> {
    Ok(())
}
