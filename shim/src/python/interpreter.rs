//! The interpreter of this process: its functions, its layout, and whether its frames may be read.
//!
//! Job: find the running thread state and the layout for a walk, in any context, also in a signal handler. Invariant:
//! this file examines the interpreter once, and publishes the result before any reader of it is armed; after the
//! self-test has failed, no code reads frames. Neighbours: `life::start` (examines), `selftest` (decides), `stack`
//! (walks).

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use rscalene_interp::{Layout, Memory, Unsupported, running};

use rscalene_wire::{NoticeCode, Verdict};

use crate::ground::guard::Guarded;
use crate::ground::real::{clear_error, global_symbol};
use crate::ground::tls::tls;

/// Addresses of the interpreter's functions; 0 where one is missing.
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) initialized: usize,
    this_thread_state: usize,
    finalizing: usize,
    /// `Py_AddPendingCall`.
    pub(crate) add_pending_call: usize,
    /// `PyEval_GetFrame`.
    pub(crate) get_frame: usize,
    /// `PyFrame_GetCode`.
    pub(crate) frame_code: usize,
    /// `PyFrame_GetBack`.
    pub(crate) frame_back: usize,
    /// `PyFrame_GetLasti`.
    pub(crate) frame_offset: usize,
    /// `Py_DecRef`.
    pub(crate) release: usize,
}

impl Calls {
    const NONE: Self = Self {
        initialized: 0,
        this_thread_state: 0,
        finalizing: 0,
        add_pending_call: 0,
        get_frame: 0,
        frame_code: 0,
        frame_back: 0,
        frame_offset: 0,
        release: 0,
    };

    fn find() -> Self {
        let either = |new: &CStr, old: &CStr| match global_symbol(new) {
            0 => global_symbol(old),
            found => found,
        };
        Self {
            initialized: global_symbol(c"Py_IsInitialized"),
            this_thread_state: global_symbol(c"PyGILState_GetThisThreadState"),
            finalizing: either(c"Py_IsFinalizing", c"_Py_IsFinalizing"),
            add_pending_call: global_symbol(c"Py_AddPendingCall"),
            get_frame: global_symbol(c"PyEval_GetFrame"),
            frame_code: global_symbol(c"PyFrame_GetCode"),
            frame_back: global_symbol(c"PyFrame_GetBack"),
            frame_offset: global_symbol(c"PyFrame_GetLasti"),
            release: global_symbol(c"Py_DecRef"),
        }
    }

    /// Is a function missing that the self-test needs?
    pub(crate) fn incomplete(&self) -> bool {
        [self.get_frame, self.frame_code, self.frame_back, self.frame_offset, self.release].contains(&0)
    }
}

/// The interpreter of this process.
#[derive(Clone, Copy)]
pub(crate) struct Python {
    /// `Py_Version`; 0 where the interpreter has none.
    pub(crate) version: u32,
    /// Address of `_PyRuntime`.
    pub(crate) runtime: u64,
    /// Address of `PyCode_Type`.
    pub(crate) code_type: u64,
    /// The build has no GIL.
    pub(crate) free_threaded: bool,
    /// Its functions.
    pub(crate) calls: Calls,
    layout: Option<Layout>,
    /// An address at the end of the first thread's stack; 0 where none is known.
    pub(crate) first_stack_end: u64,
}

impl Python {
    const NONE: Self = Self {
        version: 0,
        runtime: 0,
        code_type: 0,
        free_threaded: false,
        calls: Calls::NONE,
        layout: None,
        first_stack_end: 0,
    };

    /// Can frames be read at all?
    pub(crate) fn frames_readable(&self) -> bool {
        self.layout.is_some()
    }

    /// How to read frames; `None` where they must not be read.
    pub(crate) fn layout(&self) -> Option<&Layout> {
        if failed() { None } else { self.layout.as_ref() }
    }

    /// Is the interpreter up?
    pub(crate) fn initialized(&self) -> bool {
        if self.calls.initialized == 0 {
            return false;
        }
        // SAFETY: the address is that of Py_IsInitialized, which reads one flag.
        let function: unsafe extern "C" fn() -> c_int = unsafe { core::mem::transmute(self.calls.initialized) };
        // SAFETY: may be called at any time.
        unsafe { function() != 0 }
    }

    /// Is the interpreter tearing itself down (after the program's own exit functions have run)?
    pub(crate) fn finalizing(&self) -> bool {
        if self.calls.finalizing == 0 {
            return false;
        }
        // SAFETY: the address is that of Py_IsFinalizing, which reads one flag.
        let function: unsafe extern "C" fn() -> c_int = unsafe { core::mem::transmute(self.calls.finalizing) };
        // SAFETY: may be called at any time.
        unsafe { function() != 0 }
    }

    /// This thread's state, whether or not the thread holds the GIL; 0 in a thread without a state. In 3.11: the first
    /// state that the thread had, even if another one runs.
    #[inline]
    pub(crate) fn thread_state(&self) -> u64 {
        call_state(self.calls.this_thread_state)
    }

    /// The state that runs in this thread. The thread has a state, and its stack pointer is `sp`.
    #[inline]
    pub(crate) fn running_state(&self, layout: &Layout, memory: &Guarded, sp: u64) -> u64 {
        let own = self.thread_state();
        if layout.minor != 11 {
            return own;
        }
        // A thread's TLS block lies above its stack, except for the first thread, whose stack lies above all other
        // memory.
        let block = core::ptr::from_ref(tls()) as u64;
        running(memory, layout, own, sp, if block > sp { block } else { self.first_stack_end })
    }
}

#[inline]
fn call_state(address: usize) -> u64 {
    if address == 0 {
        return 0;
    }
    // SAFETY: the address is that of a function that reads a thread-local or global pointer and returns it.
    let function: unsafe extern "C" fn() -> u64 = unsafe { core::mem::transmute(address) };
    // SAFETY: needs no GIL and is async-signal-safe.
    unsafe { function() }
}

struct Once(UnsafeCell<Python>);

// SAFETY: `publish` writes it before `READY` is raised; it is only read afterwards.
unsafe impl Sync for Once {}

static PYTHON: Once = Once(UnsafeCell::new(Python::NONE));
static NO_PYTHON: Python = Python::NONE;
static READY: AtomicBool = AtomicBool::new(false);

/// The interpreter of this process.
#[inline]
pub(crate) fn python() -> &'static Python {
    if READY.load(Acquire) {
        // SAFETY: `READY` is raised, so `publish` does not write it again.
        unsafe { &*PYTHON.0.get() }
    } else {
        &NO_PYTHON
    }
}

/// Has [`publish`] run?
pub(crate) fn ready() -> bool {
    READY.load(Acquire)
}

/// Stores the interpreter for [`python`]; called once, before any reader of it is armed.
///
/// # Safety
/// [`ready`] is false, and no other thread calls this.
pub(crate) unsafe fn publish(python: Python) {
    // SAFETY: no thread reads it before `READY` is raised.
    unsafe { PYTHON.0.get().write(python) };
    READY.store(true, Release);
}

/// Examines the interpreter of a process that no launcher profiles. Returns false if frames cannot be read. The GIL is
/// held.
pub(crate) fn adopt() -> bool {
    if !READY.load(Acquire) {
        let (python, _) = inspect();
        // SAFETY: `READY` is not raised yet, and the GIL prevents a second writer.
        unsafe { publish(python) };
        clear_error();
    }
    let python = python();
    python.frames_readable() && !python.calls.incomplete()
}

/// Examines the interpreter. If its frames cannot be read, also returns the reason (notice code and detail).
pub(crate) fn inspect() -> (Python, Option<(NoticeCode, u32)>) {
    let memory = Guarded::here();
    let (version, runtime, code_type) =
        (global_symbol(c"Py_Version"), global_symbol(c"_PyRuntime"), global_symbol(c"PyCode_Type"));
    let mut python = Python { runtime: runtime as u64, code_type: code_type as u64, ..Python::NONE };
    python.calls = Calls::find();
    if version == 0 || runtime == 0 || code_type == 0 {
        python.version = spoken_version();
        return (python, Some((NoticeCode::UNSUPPORTED_VERSION, python.version)));
    }
    python.version = memory.u64(version as u64).unwrap_or(0) as u32;
    match Layout::of(python.version, python.runtime, python.code_type, &memory) {
        Ok(layout) => {
            python.free_threaded = layout.free_threaded;
            if layout.free_threaded {
                return (python, Some((NoticeCode::UNSUPPORTED_BUILD, python.version)));
            }
            python.layout = Some(layout);
            (python, None)
        }
        Err(Unsupported::Version(_)) => (python, Some((NoticeCode::UNSUPPORTED_VERSION, python.version))),
        Err(refused) => {
            python.free_threaded = matches!(refused, Unsupported::FreeThreaded(_));
            (python, Some((NoticeCode::UNSUPPORTED_BUILD, python.version)))
        }
    }
}

/// The version of an interpreter without `Py_Version` (older than 3.11), from its text; 0 if there is none.
fn spoken_version() -> u32 {
    let address = global_symbol(c"Py_GetVersion");
    if address == 0 {
        return 0;
    }
    // SAFETY: the address is that of Py_GetVersion, which writes its text into a buffer of its own.
    let function: unsafe extern "C" fn() -> *const core::ffi::c_char = unsafe { core::mem::transmute(address) };
    // SAFETY: may be called before the interpreter is up.
    let text = unsafe { function() };
    if text.is_null() {
        return 0;
    }
    // SAFETY: the text ends with NUL.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    // `3.10.13 (main, ...`: the first byte that is no digit ends the third number.
    let number = |part: &[u8]| {
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))) & 255
    };
    let mut parts = text.splitn(3, |byte| *byte == b'.').map(number);
    let mut next = || parts.next().unwrap_or(0);
    (next() << 24) | (next() << 16) | (next() << 8)
}

/// State of the self-test: [`NOT_ASKED`], [`ASKED`], or a [`Verdict`] plus [`DECIDED`].
pub(crate) static STATE: AtomicU32 = AtomicU32::new(NOT_ASKED);
pub(crate) const NOT_ASKED: u32 = 0;
pub(crate) const ASKED: u32 = 1;
pub(crate) const DECIDED: u32 = 16;

/// Did the self-test fail? Then the frames read here differ from the interpreter's own, and no code reads frames.
pub(crate) fn failed() -> bool {
    STATE.load(Relaxed) == DECIDED + Verdict::FAILED.number()
}

/// Is the self-test still to be asked for?
pub(crate) fn pending() -> bool {
    STATE.load(Relaxed) == NOT_ASKED
}
