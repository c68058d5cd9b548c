//! Events from `sys.monitoring`, 3.12 and later.
//!
//! Job: register two tools, one for lines and one for functions, because code out of scope disables the events of the
//! first tool for good. Invariant: an event in a context without an open request does nothing. Neighbours: `engines`
//! switches the tools on, `context` finds the request of an event, `book` records the event.
//!
//! Lines: a global `PY_START` callback checks each code object once. For code in scope the callback switches on the
//! local events `LINE`, `PY_RETURN`, `PY_YIELD` and `PY_RESUME`; for other code the callback returns `DISABLE`.
//! `restart_events` is never called, because it affects all tools.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::context::with_book;
use super::counts::{FUNCTIONS, IDLE, IDLE_EVENTS, LINES};
use super::functions::{self, Kind};
use super::ledger::Leaves;
use super::memory::{apart, reading};
use crate::bindings::symbols::address;
use crate::lines::clock;

/// Tool ids to try, those without a predefined role first. Ids 0 and 1 are left to debuggers and coverage tools.
const TOOL_IDS: [u8; 4] = [4, 3, 5, 2];

/// Objects and constants that are read from the interpreter once.
struct Asked {
    monitoring: Py<PyAny>,
    disable: Py<PyAny>,
    local: u32,
}

static ASKED: OnceLock<Asked> = OnceLock::new();
static LINE_TOOL: OnceLock<u8> = OnceLock::new();
static FUNCTION_TOOL: OnceLock<u8> = OnceLock::new();
/// Whether function events are on.
static FUNCTIONS_ON: AtomicBool = AtomicBool::new(false);

const LINE_EVENTS: [&str; 3] = ["PY_START", "PY_UNWIND", "PY_THROW"];
const LOCAL_EVENTS: [&str; 4] = ["LINE", "PY_RETURN", "PY_YIELD", "PY_RESUME"];
const FUNCTION_EVENTS: [&str; 7] = ["PY_START", "PY_RESUME", "PY_THROW", "PY_RETURN", "PY_YIELD", "PY_UNWIND", "CALL"];

/// Switches on the events needed by a request.
pub(super) fn on(py: Python<'_>, functions: bool, lines: bool) -> PyResult<()> {
    let asked = asked(py)?;
    let monitoring = asked.monitoring.bind(py);
    if lines && LINE_TOOL.get().is_none() {
        let tool = take(monitoring, "rscalene request lines", line_callbacks())?;
        monitoring.call_method1("set_events", (tool, events(monitoring, &LINE_EVENTS)?))?;
        let _ = LINE_TOOL.set(tool);
    }
    if functions && !FUNCTIONS_ON.load(Relaxed) {
        let tool = match FUNCTION_TOOL.get() {
            Some(tool) => *tool,
            None => take(monitoring, "rscalene request functions", function_callbacks())?,
        };
        let _ = FUNCTION_TOOL.set(tool);
        monitoring.call_method1("set_events", (tool, events(monitoring, &FUNCTION_EVENTS)?))?;
        FUNCTIONS_ON.store(true, Relaxed);
    }
    Ok(())
}

#[cold]
fn functions_off(py: Python<'_>) {
    if !FUNCTIONS_ON.swap(false, Relaxed) {
        return;
    }
    if let (Some(asked), Some(tool)) = (ASKED.get(), FUNCTION_TOOL.get())
        && let Err(error) = asked.monitoring.bind(py).call_method1("set_events", (*tool, 0))
    {
        error.write_unraisable(py, None);
    }
}

fn asked(py: Python<'_>) -> PyResult<&'static Asked> {
    if let Some(asked) = ASKED.get() {
        return Ok(asked);
    }
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let local = events(&monitoring, &LOCAL_EVENTS)?;
    let disable = monitoring.getattr("DISABLE")?.unbind();
    Ok(ASKED.get_or_init(|| Asked { monitoring: monitoring.unbind(), disable, local }))
}

fn take<const N: usize>(
    monitoring: &Bound<'_, PyAny>,
    name: &str,
    callbacks: [(&'static str, &'static Callback); N],
) -> PyResult<u8> {
    let taken = TOOL_IDS.into_iter().find(|id| monitoring.call_method1("use_tool_id", (*id, name)).is_ok());
    let Some(tool) = taken else {
        return Err(PyRuntimeError::new_err(
            "cannot profile requests, every free tool id of `sys.monitoring` is taken\n\
             hint: switch another profiler off, or set RSCALENE=0",
        ));
    };
    for (event, callback) in callbacks {
        let kind = monitoring.getattr("events")?.getattr(event)?;
        monitoring.call_method1("register_callback", (tool, kind, callback.object(monitoring.py())?))?;
    }
    Ok(tool)
}

fn events(monitoring: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<u32> {
    let all = monitoring.getattr("events")?;
    names.iter().try_fold(0, |set, name| Ok(set | all.getattr(*name)?.extract::<u32>()?))
}

type Native = unsafe extern "C" fn(*mut ffi::PyObject, *mut *mut ffi::PyObject, ffi::Py_ssize_t) -> *mut ffi::PyObject;

/// A method definition. The interpreter keeps a pointer to the definition.
struct Callback(std::cell::UnsafeCell<ffi::PyMethodDef>);

// SAFETY: the interpreter only reads the definition.
unsafe impl Sync for Callback {}

impl Callback {
    const fn new(name: &'static CStr, function: Native) -> Self {
        Self(std::cell::UnsafeCell::new(ffi::PyMethodDef {
            ml_name: name.as_ptr().cast::<c_char>(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: function },
            ml_flags: ffi::METH_FASTCALL,
            ml_doc: std::ptr::null(),
        }))
    }

    fn object<'py>(&'static self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the definition is static, and the GIL is held.
        unsafe {
            let made = ffi::PyCFunction_NewEx(self.0.get(), std::ptr::null_mut(), std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(py, made)
        }
    }
}

fn line_callbacks() -> [(&'static str, &'static Callback); 7] {
    static CALLBACKS: [(&str, Callback); 7] = [
        ("PY_START", Callback::new(c"line_start", on_line_start)),
        ("LINE", Callback::new(c"line", on_line)),
        ("PY_RESUME", Callback::new(c"line_resume", on_line_resume)),
        ("PY_THROW", Callback::new(c"line_throw", on_line_throw)),
        ("PY_RETURN", Callback::new(c"line_return", on_line_return)),
        ("PY_UNWIND", Callback::new(c"line_unwind", on_line_return)),
        ("PY_YIELD", Callback::new(c"line_yield", on_line_yield)),
    ];
    CALLBACKS.each_ref().map(|(name, callback)| (*name, callback))
}

fn function_callbacks() -> [(&'static str, &'static Callback); 9] {
    static CALLBACKS: [(&str, Callback); 9] = [
        ("PY_START", Callback::new(c"start", on_start)),
        ("PY_RESUME", Callback::new(c"resume", on_resume)),
        ("PY_THROW", Callback::new(c"throw", on_resume)),
        ("PY_RETURN", Callback::new(c"return", on_return)),
        ("PY_YIELD", Callback::new(c"yield", on_return)),
        ("PY_UNWIND", Callback::new(c"unwind", on_return)),
        ("CALL", Callback::new(c"call", on_call)),
        ("C_RETURN", Callback::new(c"c_return", on_c_return)),
        ("C_RAISE", Callback::new(c"c_raise", on_c_return)),
    ];
    CALLBACKS.each_ref().map(|(name, callback)| (*name, callback))
}

/// The result of a callback. `None` is immortal since 3.12, so its reference count need not change.
#[inline(always)]
fn none() -> *mut ffi::PyObject {
    // SAFETY: `None` lives as long as the interpreter.
    unsafe { ffi::Py_None() }
}

/// Whether no open request records functions. After [`IDLE_EVENTS`] such events, switches function events off.
#[inline(always)]
fn idle(py: Python<'_>) -> bool {
    if FUNCTIONS.load(Relaxed) != 0 {
        return false;
    }
    let seen = IDLE.load(Relaxed);
    IDLE.store(seen.wrapping_add(1), Relaxed);
    if seen == IDLE_EVENTS {
        functions_off(py);
    }
    true
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_start(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the first argument of every event is the code object, and the GIL is held.
    let (py, code) = unsafe { (Python::assume_attached(), *arguments) };
    if !idle(py) {
        apart(|| {
            with_book(py, |book, stack| {
                if book.functions {
                    book.enter(py, stack, code, true);
                }
            })
        });
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_resume(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: as above.
    let (py, code) = unsafe { (Python::assume_attached(), *arguments) };
    if !idle(py) {
        apart(|| {
            with_book(py, |book, stack| {
                if book.functions {
                    book.enter(py, stack, code, false);
                }
            })
        });
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_return(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let now = clock::ticks();
    // SAFETY: as above.
    let (py, code) = unsafe { (Python::assume_attached(), *arguments as usize) };
    if !idle(py) {
        apart(|| {
            with_book(py, |book, stack| {
                if book.functions {
                    book.leave(stack, code, now);
                }
            })
        });
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_call(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: the arguments are the code object, an offset, the callable and its first argument; the GIL is held.
    let (py, callable) = unsafe { (Python::assume_attached(), *arguments.add(2)) };
    let key = functions::definition(callable);
    if key != 0 && !idle(py) {
        apart(|| {
            with_book(py, |book, stack| {
                if book.functions {
                    book.enter_builtin(py, stack, key, callable);
                }
            })
        });
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_c_return(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let now = clock::ticks();
    // SAFETY: as above.
    let (py, callable) = unsafe { (Python::assume_attached(), *arguments.add(2)) };
    let key = functions::definition(callable);
    if key != 0 && !idle(py) {
        apart(|| {
            with_book(py, |book, stack| {
                if book.functions {
                    book.leave(stack, key, now);
                }
            })
        });
    }
    none()
}

/// The number that the interpreter passes with an event: a line, or an offset of bytecode.
///
/// # Safety
/// The second argument of the event is an int, and the GIL is held.
#[inline(always)]
unsafe fn number(arguments: *mut *mut ffi::PyObject) -> u32 {
    // SAFETY: see above.
    unsafe { ffi::PyLong_AsLong(*arguments.add(1)) as u32 }
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_line_start(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: as above.
    let (py, code) = unsafe { (Python::assume_attached(), *arguments) };
    let in_scope = functions::known_watch(py, code as usize).unwrap_or_else(|| apart(|| meet(py, code)));
    if !in_scope {
        return ASKED.get().map_or_else(none, |asked| {
            // SAFETY: the object is alive, and the caller takes the new reference.
            unsafe { ffi::Py_NewRef(asked.disable.as_ptr()) }
        });
    }
    if LINES.load(Relaxed) != 0 {
        // SAFETY: the second argument is an offset.
        let now = reading(clock::ticks(), || unsafe { number(arguments) });
        apart(|| {
            with_book(py, |book, stack| {
                if book.lines {
                    book.enter_lines(py, stack, code, true, now);
                }
            })
        });
    }
    none()
}

/// Whether new code is in scope; if so, switches on its line events.
#[cold]
fn meet(py: Python<'_>, code: *mut ffi::PyObject) -> bool {
    let function = functions::of_code(py, code);
    if let (true, Some(asked), Some(tool)) = (function.in_scope, ASKED.get(), LINE_TOOL.get()) {
        // SAFETY: the interpreter passed a live code object.
        let code = unsafe { Bound::from_borrowed_ptr(py, code) };
        let monitoring = asked.monitoring.bind(py);
        if let Err(error) = monitoring.call_method1("set_local_events", (*tool, code, asked.local)) {
            error.write_unraisable(py, None);
        }
        function.watched.store(true, Relaxed);
    }
    function.in_scope
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_line(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    if LINES.load(Relaxed) != 0 {
        let now = clock::ticks();
        // SAFETY: a LINE callback gets a code object and an int, with the GIL held.
        let (py, code, line) = unsafe { (Python::assume_attached(), *arguments, number(arguments)) };
        let now = reading(now, || line);
        apart(|| {
            with_book(py, |book, stack| {
                if book.lines {
                    book.line(py, stack, code, line, now);
                }
            })
        });
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_line_resume(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    if LINES.load(Relaxed) != 0 {
        // SAFETY: as above.
        let (py, code) = unsafe { (Python::assume_attached(), *arguments) };
        // SAFETY: the second argument is an offset.
        let now = reading(clock::ticks(), || unsafe { number(arguments) });
        apart(|| {
            with_book(py, |book, stack| {
                if book.lines {
                    book.enter_lines(py, stack, code, false, now);
                }
            })
        });
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_line_throw(
    receiver: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: as above. `PY_THROW` cannot be a local event, so the scope is checked here.
    unsafe {
        let py = Python::assume_attached();
        if LINES.load(Relaxed) != 0 && functions::known_scope(py, *arguments as usize) == Some(true) {
            return on_line_resume(receiver, arguments, count);
        }
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_line_return(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    if LINES.load(Relaxed) != 0 {
        let now = clock::ticks();
        // SAFETY: as above.
        let (py, code) = unsafe { (Python::assume_attached(), *arguments as usize) };
        // SAFETY: the second argument is an offset.
        let now = reading(now, || unsafe { number(arguments) });
        apart(|| {
            with_book(py, |book, stack| {
                if book.lines {
                    book.leave_lines(stack, code, Leaves::Ends, now);
                }
            })
        });
    }
    none()
}

// SAFETY: CPython calls this function with the GIL held, as the method of its registration.
unsafe extern "C" fn on_line_yield(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    if LINES.load(Relaxed) != 0 {
        let now = clock::ticks();
        // SAFETY: the arguments are the code object, an offset and the value; the GIL is held.
        let (py, code, value) = unsafe { (Python::assume_attached(), *arguments, *arguments.add(2)) };
        // SAFETY: the second argument is an offset.
        let now = reading(now, || unsafe { number(arguments) });
        apart(|| {
            with_book(py, |book, stack| {
                if book.lines {
                    let how = how_it_yields(py, code, value);
                    book.leave_lines(stack, code as usize, how, now);
                }
            })
        });
    }
    none()
}

/// Whether the code awaits, or yields a value to its caller.
fn how_it_yields(py: Python<'_>, code: *mut ffi::PyObject, value: *mut ffi::PyObject) -> Leaves {
    static WRAPPED: OnceLock<usize> = OnceLock::new();
    if functions::of_code(py, code).kind != Kind::Coroutine {
        return Leaves::Yields;
    }
    let wrapped = *WRAPPED.get_or_init(|| address(c"_PyAsyncGenWrappedValue_Type") as usize);
    // SAFETY: the interpreter passed a live object.
    if wrapped != 0 && unsafe { ffi::Py_TYPE(value) } as usize == wrapped { Leaves::Yields } else { Leaves::Awaits }
}
