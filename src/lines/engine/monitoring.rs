//! Events from `sys.monitoring`, 3.12 and later.
//!
//! Job: take a tool id, register the callbacks, ask for local events. Invariant: only the code objects given to
//! [`watch`] report lines, starts, returns and yields; the two events that cannot be local before 3.15 (a frame left or
//! entered by an exception) are global and do nothing for other code. Neighbour: `threads`.
//!
//! The callbacks are plain C functions with the `METH_FASTCALL` convention: 43 to 55 ns a line, where a Python function
//! takes 65 to 84.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::outcome::exception_name;
use super::threads::{Place, Scratch, with_thread};
use crate::lines::clock;

/// Report the events of `code`; `calls` as well, where own time is asked for.
pub(crate) fn watch(code: &Bound<'_, PyAny>, calls: bool) -> PyResult<()> {
    let py = code.py();
    let tool = tool(py)?;
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let mut local = events(&monitoring, &["LINE", "PY_START", "PY_RESUME", "PY_RETURN", "PY_YIELD"])?;
    if calls {
        local |= events(&monitoring, &["CALL"])?;
    }
    monitoring.call_method1("set_local_events", (tool, code, local))?;
    Ok(())
}

/// Ids to try: those without a role first. 0 and 1 belong to debuggers and coverage tools, which come and go by
/// themselves.
const TOOL_IDS: [u8; 4] = [4, 3, 5, 2];

fn tool(py: Python<'_>) -> PyResult<u8> {
    static TOOL: OnceLock<u8> = OnceLock::new();
    if let Some(tool) = TOOL.get() {
        return Ok(*tool);
    }
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let taken = TOOL_IDS.into_iter().find(|id| monitoring.call_method1("use_tool_id", (*id, "rscalene lines")).is_ok());
    let Some(tool) = taken else {
        let names = TOOL_IDS.map(|id| match monitoring.call_method1("get_tool", (id,)) {
            Ok(name) => format!("{id}: {name}"),
            Err(_) => format!("{id}: ?"),
        });
        return Err(PyRuntimeError::new_err(format!(
            "cannot profile lines, every free tool id of `sys.monitoring` is taken ({})\n\
             hint: switch one of these tools off, or set RSCALENE=0",
            names.join(", ")
        )));
    };
    if let Err(error) = set_up(&monitoring, tool) {
        // Another tool may have the id.
        let _ = monitoring.call_method1("free_tool_id", (tool,));
        return Err(error);
    }
    Ok(*TOOL.get_or_init(|| tool))
}

/// Registers the callbacks of a tool that was just taken.
fn set_up(monitoring: &Bound<'_, PyAny>, tool: u8) -> PyResult<()> {
    let py = monitoring.py();
    learn_callables(py)?;
    for (event, callback) in callbacks() {
        let kind = monitoring.getattr("events")?.getattr(event)?;
        monitoring.call_method1("register_callback", (tool, kind, native(py, callback)?))?;
    }
    monitoring.call_method1("set_events", (tool, events(monitoring, &["PY_UNWIND", "PY_THROW"])?))?;
    Ok(())
}

fn events(monitoring: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<u32> {
    let all = monitoring.getattr("events")?;
    names.iter().try_fold(0, |set, name| Ok(set | all.getattr(*name)?.extract::<u32>()?))
}

fn callbacks() -> [(&'static str, &'static Callback); 9] {
    static CALLBACKS: [(&str, Callback); 9] = [
        ("LINE", Callback::new(c"line", on_line)),
        ("PY_START", Callback::new(c"start", on_start)),
        ("PY_RESUME", Callback::new(c"resume", on_resume)),
        ("PY_THROW", Callback::new(c"throw", on_resume)),
        ("PY_RETURN", Callback::new(c"return", on_return)),
        ("PY_YIELD", Callback::new(c"yield", on_return)),
        ("PY_UNWIND", Callback::new(c"unwind", on_unwind)),
        ("CALL", Callback::new(c"call", on_call)),
        ("C_RETURN", Callback::new(c"c_return", on_c_return)),
    ];
    CALLBACKS.each_ref().map(|(name, callback)| (*name, callback))
}

type Native = unsafe extern "C" fn(*mut ffi::PyObject, *mut *mut ffi::PyObject, ffi::Py_ssize_t) -> *mut ffi::PyObject;

/// A method definition that the interpreter keeps a pointer to.
pub(crate) struct Callback(std::cell::UnsafeCell<ffi::PyMethodDef>);

// SAFETY: the interpreter only reads it.
unsafe impl Sync for Callback {}

impl Callback {
    pub(crate) const fn new(name: &'static CStr, function: Native) -> Self {
        Self(std::cell::UnsafeCell::new(ffi::PyMethodDef {
            ml_name: name.as_ptr().cast::<c_char>(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: function },
            ml_flags: ffi::METH_FASTCALL,
            ml_doc: std::ptr::null(),
        }))
    }

    /// The callable, bound to `receiver`.
    pub(crate) fn bound<'py>(
        &'static self,
        py: Python<'py>,
        receiver: *mut ffi::PyObject,
    ) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the definition is static, and the GIL is held.
        unsafe {
            let function = ffi::PyCFunction_NewEx(self.0.get(), receiver, std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(py, function)
        }
    }
}

fn native<'py>(py: Python<'py>, callback: &'static Callback) -> PyResult<Bound<'py, PyAny>> {
    callback.bound(py, std::ptr::null_mut())
}

/// What every callback returns. Immortal from 3.12 on, so the reference needs no count.
#[inline(always)]
fn none() -> *mut ffi::PyObject {
    // SAFETY: `None` lives as long as the interpreter.
    unsafe { ffi::Py_None() }
}

// SAFETY: CPython calls it with the GIL held, as the method or handler that it was registered as.
unsafe extern "C" fn on_line(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    // SAFETY: a LINE callback gets a code object and an int, with the GIL held.
    let (py, code, line) =
        unsafe { (Python::assume_attached(), *arguments as usize, ffi::PyLong_AsLong(*arguments.add(1)) as u32) };
    with_thread(|thread| thread.line(py, code, line, Scratch::of(line), began));
    none()
}

// SAFETY: CPython calls it with the GIL held, as the method or handler that it was registered as.
unsafe extern "C" fn on_start(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    // SAFETY: the arguments are the code object and a byte offset, and the GIL is held.
    let (py, code, offset) =
        unsafe { (Python::assume_attached(), *arguments as usize, ffi::PyLong_AsLong(*arguments.add(1)) as u32) };
    with_thread(|thread| thread.enter(py, code, Place::Start, Scratch::of(offset), began));
    none()
}

// SAFETY: CPython calls it with the GIL held, as the method or handler that it was registered as.
unsafe extern "C" fn on_resume(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    // SAFETY: the arguments begin with the code object and a byte offset, and the GIL is held.
    let (py, code, offset) =
        unsafe { (Python::assume_attached(), *arguments as usize, ffi::PyLong_AsLong(*arguments.add(1)) as u32) };
    with_thread(|thread| {
        if thread.busy() {
            thread.enter(py, code, Place::Offset(offset), Scratch::of(offset), began)
        }
    });
    none()
}

// SAFETY: CPython calls it with the GIL held, as the method or handler that it was registered as.
unsafe extern "C" fn on_return(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    // SAFETY: the arguments begin with the code object and a byte offset, and the GIL is held.
    let (py, code, offset) =
        unsafe { (Python::assume_attached(), *arguments as usize, ffi::PyLong_AsLong(*arguments.add(1)) as u32) };
    let ended = with_thread(|thread| thread.leave(py, code, None, Scratch::of(offset), began)).flatten();
    if let Some(ended) = ended {
        ended.announce(py);
    }
    none()
}

// SAFETY: CPython calls it with the GIL held, as the method or handler that it was registered as.
unsafe extern "C" fn on_unwind(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    if with_thread(|thread| thread.busy()) != Some(true) {
        return none();
    }
    // SAFETY: the arguments are the code object, an offset and the exception, and the GIL is held.
    let (py, code, offset, exception) = unsafe {
        let py = Python::assume_attached();
        let offset = ffi::PyLong_AsLong(*arguments.add(1)) as u32;
        (py, *arguments as usize, offset, Bound::from_borrowed_ptr(py, *arguments.add(2)))
    };
    if !super::table::registry(py).contains_key(&code) {
        return none();
    }
    let start = with_thread(|thread| thread.begin(began));
    let name = exception_name(&exception.get_type());
    let ended = with_thread(|thread| {
        start.into_iter().for_each(|start| thread.end(start));
        thread.leave(py, code, Some(&name), Scratch::of(offset), clock::ticks())
    })
    .flatten();
    if let Some(ended) = ended {
        ended.announce(py);
    }
    none()
}

// SAFETY: CPython calls it with the GIL held, as the method or handler that it was registered as.
unsafe extern "C" fn on_call(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    // SAFETY: the arguments are the code object, an offset, the callable and its first argument; the GIL is held.
    let (code, callable) = unsafe { (*arguments as usize, *arguments.add(2)) };
    if runs_python(callable) {
        with_thread(|thread| thread.call(code, began));
    }
    none()
}

// SAFETY: CPython calls it with the GIL held, as the method or handler that it was registered as.
unsafe extern "C" fn on_c_return(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let began = clock::ticks();
    // SAFETY: the first argument is the code object, and the GIL is held.
    let code = unsafe { *arguments as usize };
    with_thread(|thread| thread.call_ended(code, began));
    none()
}

/// Types whose calls run C code and belong to the line's own time; and `type` itself.
static NATIVE_TYPES: OnceLock<(Vec<usize>, usize)> = OnceLock::new();

fn learn_callables(py: Python<'_>) -> PyResult<()> {
    let types = py.import("types")?;
    let mut native = Vec::new();
    for name in [
        "BuiltinFunctionType",
        "MethodDescriptorType",
        "WrapperDescriptorType",
        "MethodWrapperType",
        "ClassMethodDescriptorType",
    ] {
        native.push(types.getattr(name)?.as_ptr() as usize);
    }
    let kind = py.get_type::<pyo3::types::PyType>().as_ptr() as usize;
    let _ = NATIVE_TYPES.set((native, kind));
    Ok(())
}

/// Does a call of `callable` run Python code? Classes made by `class` do, built-in ones and C functions do not.
fn runs_python(callable: *mut ffi::PyObject) -> bool {
    let Some((native, kind)) = NATIVE_TYPES.get() else { return false };
    // SAFETY: the interpreter passed a live object.
    let of = unsafe { ffi::Py_TYPE(callable) };
    if of as usize == *kind {
        // SAFETY: its type is `type`, so it is a type object.
        return unsafe { ffi::PyType_GetFlags(callable.cast()) } & ffi::Py_TPFLAGS_HEAPTYPE != 0;
    }
    !native.contains(&(of as usize))
}
