//! Reads the bytes allocated by a thread: from the shim's exact counters, from the resident size, or not at all.
//!
//! Job: read the net bytes of the calling thread in a few nanoseconds. Invariant: reading never allocates. Neighbour:
//! `lines::engine::threads` subtracts the bytes that the profiler itself allocated.

use std::fs::File;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rscalene_wire::{EXACT_SYMBOL, EXACT_VERSION, ExactCounters, ExactTable};

use super::{load_shim, symbols};

/// The kind of bytes that a table of lines counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// No bytes: the table counts time only.
    Nothing,
    /// Bytes that this thread allocated minus bytes that it freed.
    Exact,
    /// The process' resident bytes.
    Resident,
}

/// Resident bytes of this process now; 0 if `/proc` cannot be read.
pub(crate) fn resident_bytes() -> i64 {
    static STATM: Mutex<Option<Statm>> = Mutex::new(None);
    let Ok(mut kept) = STATM.lock() else { return 0 };
    let pid = std::process::id();
    if kept.as_ref().is_none_or(|statm| statm.pid != pid || !statm.is_ours()) {
        *kept = Statm::open(pid);
    }
    kept.as_ref().map_or(0, Statm::resident_pages) * page_bytes()
}

/// An open `/proc/self/statm`. The program may close the descriptor, for example in a loop over all descriptors, and
/// then open its own file under the same number. So `is_ours` compares the file before each use, and nothing closes the
/// descriptor.
struct Statm {
    pid: u32,
    descriptor: RawFd,
    identity: (u64, u64),
}

impl Statm {
    fn open(pid: u32) -> Option<Self> {
        let file = File::open("/proc/self/statm").ok()?;
        let facts = file.metadata().ok()?;
        Some(Self { pid, identity: (facts.dev(), facts.ino()), descriptor: file.into_raw_fd() })
    }

    fn is_ours(&self) -> bool {
        let mut facts = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the kernel fills the whole structure if it returns 0; fstat accepts any number.
        if unsafe { libc::fstat(self.descriptor, facts.as_mut_ptr()) } != 0 {
            return false;
        }
        // SAFETY: fstat filled the structure.
        let facts = unsafe { facts.assume_init() };
        (facts.st_dev, facts.st_ino) == self.identity
    }

    fn resident_pages(&self) -> i64 {
        let mut text = [0_u8; 128];
        // SAFETY: the buffer has the stated length; pread writes nothing but the buffer, whatever file the number
        // names.
        let length = unsafe { libc::pread(self.descriptor, text.as_mut_ptr().cast(), text.len(), 0) };
        let text = text.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
        let pages = text.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        pages.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit.wrapping_sub(b'0')))
    }
}

/// Bytes of a page.
pub(crate) fn page_bytes() -> i64 {
    static PAGE: OnceLock<i64> = OnceLock::new();
    // SAFETY: sysconf has no preconditions.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) })
}

/// The shim's exact counters, or the reason for their absence. Empty until `prepare` has loaded the shim.
static EXACT: OnceLock<Result<&'static ExactTable, String>> = OnceLock::new();

/// Loads the shim if it is not preloaded, and hooks the allocations of all libraries loaded so far.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    if EXACT.get().is_none() {
        let _ = EXACT.set(load(py)?);
    }
    let table = match EXACT.get() {
        Some(Ok(table)) => table,
        Some(Err(why)) => return Err(PyRuntimeError::new_err(why.clone())),
        None => return Ok(()),
    };
    // SAFETY: the table belongs to the shim and the GIL is held; the address makes the shim leave this library
    // unhooked.
    if unsafe { (table.prepare)(prepare as *const () as usize) } {
        measure_int(py);
        Ok(())
    } else {
        Err(PyRuntimeError::new_err(
            "cannot count bytes exactly: this process has no allocator that can be hooked\n\
             hint: `backend=\"rss\"` measures resident memory instead",
        ))
    }
}

/// Bytes of a new int. 0 from 3.14 on, where the interpreter takes ints from a freelist.
#[inline(always)]
pub(crate) fn int_bytes() -> i64 {
    INT_BYTES.load(Relaxed)
}

/// [`prepare`] writes this number before any session begins.
static INT_BYTES: AtomicI64 = AtomicI64::new(0);

fn measure_int(py: Python<'_>) {
    if INT_BYTES.load(Relaxed) != 0 || !(12..14).contains(&symbols::minor(py)) {
        return;
    }
    let mut mine = Mine::new();
    mine.attach();
    let before = mine.net();
    // SAFETY: the GIL is held; the int is released below.
    let made = unsafe {
        if symbols::minor(py) == 12 {
            pyo3::ffi::PyLong_FromSsize_t(123_457)
        } else {
            pyo3::ffi::PyLong_FromLong(123_457)
        }
    };
    INT_BYTES.store(mine.net() - before, Relaxed);
    // SAFETY: the reference is owned by this function.
    unsafe { pyo3::ffi::Py_XDECREF(made) };
    mine.detach();
}

fn load(py: Python<'_>) -> PyResult<Result<&'static ExactTable, String>> {
    let symbol = match load_shim::function(py, EXACT_SYMBOL)? {
        Ok(symbol) => symbol,
        Err(why) => return Ok(Err(why)),
    };
    // SAFETY: the symbol is a function of this type in every version of the shim.
    let answer: extern "C" fn() -> *const ExactTable = unsafe { std::mem::transmute(symbol) };
    // SAFETY: the shim returns the address of a static.
    let table = unsafe { &*answer() };
    Ok(if table.version == EXACT_VERSION {
        Ok(table)
    } else {
        Err(format!("cannot count bytes exactly: the shim speaks version {}, not {EXACT_VERSION}", table.version))
    })
}

/// Counts the bytes of all threads until [`end_counting`]. Does nothing before [`prepare`] has succeeded.
pub(crate) fn begin_counting() {
    if let Some(Ok(table)) = EXACT.get() {
        // SAFETY: the GIL is held, and the caller is not inside an allocator.
        unsafe {
            // Hook the libraries loaded since the last session.
            (table.prepare)(prepare as *const () as usize);
            (table.begin)();
        }
    }
}

/// Ends what [`begin_counting`] began.
pub(crate) fn end_counting() {
    if let Some(Ok(table)) = EXACT.get() {
        // SAFETY: as in `begin_counting`.
        unsafe { (table.end)() };
    }
}

/// This thread's exact counters, while a session that counts bytes runs on it.
pub(crate) struct Mine {
    counters: *mut ExactCounters,
    sessions: u32,
    /// Clock ticks at the previous reading.
    looked: u64,
}

/// Ticks between two readings after which the thread may have loaded a library. Loading a library takes 100 us or more.
/// This many ticks are at most 17 us on all counters in use, or 50 us if a tick is a nanosecond. Looking for new
/// libraries takes 40 ns.
const LOAD_TICKS: u64 = 50_000;

impl Mine {
    pub(crate) const fn new() -> Self {
        Self { counters: std::ptr::null_mut(), sessions: 0, looked: 0 }
    }

    /// Net bytes minus `scratch`, and the highest net bytes since the previous call.
    #[inline(always)]
    pub(crate) fn take(&mut self, ticks: u64, scratch: i64) -> (i64, i64) {
        if ticks.wrapping_sub(self.looked) > LOAD_TICKS {
            self.look();
        }
        self.looked = ticks;
        // SAFETY: the pointer is null, or names this thread's counters, which only this thread's allocator calls
        // change.
        let Some(counters) = (unsafe { self.counters.as_mut() }) else { return (0, 0) };
        let net = counters.allocated.wrapping_sub(counters.freed) as i64;
        let high = if counters.high > net { counters.high } else { net - scratch };
        counters.high = net - scratch;
        (net - scratch, high)
    }

    /// Hooks libraries that the last line may have loaded: the line took longer than [`LOAD_TICKS`].
    #[cold]
    fn look(&self) {
        if let Some(Ok(table)) = EXACT.get() {
            // SAFETY: the GIL is held, and the caller is not inside an allocator.
            unsafe { (table.prepare)(prepare as *const () as usize) };
        }
    }

    /// Bytes allocated minus bytes freed.
    #[inline(always)]
    pub(crate) fn net(&self) -> i64 {
        // SAFETY: as in `take`.
        match unsafe { self.counters.as_ref() } {
            Some(counters) => counters.allocated.wrapping_sub(counters.freed) as i64,
            None => 0,
        }
    }

    /// Bytes requested so far.
    pub(crate) fn allocated(&self) -> u64 {
        // SAFETY: as in `take`.
        unsafe { self.counters.as_ref() }.map_or(0, |counters| counters.allocated)
    }

    /// The highest net bytes since the last [`Mine::take`]; `None` if this thread counts nothing.
    #[inline(always)]
    pub(crate) fn high(&self) -> Option<i64> {
        // SAFETY: as in `take`.
        unsafe { self.counters.as_ref() }.map(|counters| counters.high)
    }

    /// Replaces the highest net bytes.
    #[inline(always)]
    pub(crate) fn set_high(&mut self, high: i64) {
        // SAFETY: as in `take`.
        if let Some(counters) = unsafe { self.counters.as_mut() } {
            counters.high = high;
        }
    }

    /// Finds this thread's counters, for a caller of [`begin_counting`].
    #[inline(always)]
    pub(crate) fn find(&mut self) {
        if self.counters.is_null()
            && let Some(Ok(table)) = EXACT.get()
        {
            // SAFETY: the GIL is held, and the caller is not inside an allocator.
            self.counters = unsafe { (table.counters)() };
        }
    }

    /// Begins a session that counts bytes on this thread.
    pub(crate) fn attach(&mut self) {
        if let Some(Ok(table)) = EXACT.get() {
            // SAFETY: the GIL is held, and the caller is not inside an allocator.
            unsafe {
                // Hook the libraries loaded since the last session.
                (table.prepare)(prepare as *const () as usize);
                (table.begin)();
                self.counters = (table.counters)();
            }
            self.sessions += 1;
        }
    }

    /// Ends a session, or takes it off this thread.
    pub(crate) fn detach(&mut self) {
        if self.sessions > 0
            && let Some(Ok(table)) = EXACT.get()
        {
            // SAFETY: as in `attach`.
            unsafe { (table.end)() };
            self.sessions -= 1;
        }
    }
}
