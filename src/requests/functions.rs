//! Names of functions, read once for each function and process.
//!
//! Job: turn a code object, or the method definition of a C function, into file, line and name in cProfile's form.
//! Invariants: the table holds a reference to each of its code objects, so that no other object gets the address. The
//! table is cleared at [`MOST`] entries; requests that still use a function hold an `Arc` of the function. Neighbours:
//! `tree` and `ledger` keep the functions, `events` looks them up.

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rustc_hash::FxHashMap;

use super::{scope, templates};
use crate::bindings::symbols::address;
use crate::transport::template_lines::TemplateLines;

/// How resuming a function counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A plain function, or a C function.
    Plain,
    /// A generator: each resume counts as a call, as in cProfile.
    Generator,
    /// A coroutine or async generator: counts as one call; time while it is suspended is awaited time.
    Coroutine,
}

/// A function as reports name it.
#[derive(Debug)]
pub(super) struct Function {
    /// Address of the code object, or of the C method definition.
    pub(super) key: usize,
    /// File; `~` for C functions.
    pub(super) file: Box<str>,
    /// First line; 0 for C functions.
    pub(super) line: u32,
    /// Name as in cProfile: without the enclosing classes and functions.
    pub(super) name: Box<str>,
    /// Name with the enclosing classes and functions.
    pub(super) qualname: Box<str>,
    /// How resuming the function counts.
    pub(super) kind: Kind,
    /// Whether the function belongs to rscalene.
    pub(super) ours: bool,
    /// Whether its lines are reported.
    pub(super) in_scope: bool,
    /// Whether its line events are switched on.
    pub(super) watched: AtomicBool,
    /// If a template engine generated the code: the lines of the template.
    template: Option<TemplateLines>,
    /// Keeps the code object alive, so that its address stays valid.
    _code: Option<Py<PyAny>>,
}

impl Function {
    /// The line to report: the template's line if a template engine generated the code.
    pub(super) fn reported_line(&self, line: u32) -> u32 {
        self.template.as_ref().map_or(line, |lines| lines.line(line))
    }
}

/// Most entries of the table.
const MOST: usize = 32_768;

type Table = FxHashMap<usize, Arc<Function>>;

fn table<'py>(_held: Python<'py>) -> &'py mut Table {
    struct Kept(UnsafeCell<Option<Table>>);
    // SAFETY: only reached with the GIL held, as the argument proves.
    unsafe impl Sync for Kept {}
    static KNOWN: Kept = Kept(UnsafeCell::new(None));
    // SAFETY: the GIL is held, and no caller keeps the reference across a call into Python.
    unsafe { &mut *KNOWN.0.get() }.get_or_insert_with(Table::default)
}

/// The function of a code object.
pub(super) fn of_code(py: Python<'_>, code: *mut ffi::PyObject) -> Arc<Function> {
    if let Some(known) = table(py).get(&(code as usize)) {
        return Arc::clone(known);
    }
    // SAFETY: the interpreter passed a live code object.
    let code = unsafe { Bound::from_borrowed_ptr(py, code) };
    remember(py, describe_code(&code))
}

/// Whether the code object is in scope; `None` for an unknown code object.
#[inline(always)]
pub(super) fn known_scope(py: Python<'_>, code: usize) -> Option<bool> {
    table(py).get(&code).map(|function| function.in_scope)
}

/// As [`known_scope`], but also `None` for code in scope whose line events are not switched on yet.
#[inline(always)]
pub(super) fn known_watch(py: Python<'_>, code: usize) -> Option<bool> {
    let function = table(py).get(&code)?;
    (!function.in_scope || function.watched.load(Relaxed)).then_some(function.in_scope)
}

/// The function of a C callable whose method definition is `key`.
pub(super) fn of_builtin(py: Python<'_>, key: usize, callable: *mut ffi::PyObject) -> Arc<Function> {
    if let Some(known) = table(py).get(&key) {
        return Arc::clone(known);
    }
    // SAFETY: the interpreter passed a live callable.
    let callable = unsafe { Bound::from_borrowed_ptr(py, callable) };
    let name: Box<str> = describe_builtin(&callable).into();
    let function = Function {
        key,
        file: "~".into(),
        line: 0,
        qualname: name.clone(),
        ours: name.contains("rscalene._rscalene"),
        name,
        kind: Kind::Plain,
        in_scope: false,
        watched: AtomicBool::new(false),
        template: None,
        _code: None,
    };
    remember(py, function)
}

fn remember(py: Python<'_>, function: Function) -> Arc<Function> {
    let function = Arc::new(function);
    let old = {
        let table = table(py);
        let full = table.len() >= MOST;
        let old = if full { std::mem::take(table) } else { Table::default() };
        table.insert(function.key, Arc::clone(&function));
        old
    };
    // Drop code objects without another owner here, when the table is no longer borrowed.
    drop(old);
    function
}

fn describe_code(code: &Bound<'_, PyAny>) -> Function {
    const GENERATOR: u32 = 0x20;
    const COROUTINE: u32 = 0x80 | 0x100 | 0x200;
    let text = |name: &str| -> Box<str> {
        code.getattr(name).ok().and_then(|value| value.extract::<String>().ok()).unwrap_or_default().into()
    };
    let number = |name: &str| code.getattr(name).ok().and_then(|value| value.extract::<u32>().ok()).unwrap_or(0);
    let flags = number("co_flags");
    let kind = match flags {
        flags if flags & COROUTINE != 0 => Kind::Coroutine,
        flags if flags & GENERATOR != 0 => Kind::Generator,
        _ => Kind::Plain,
    };
    let (mut file, qualname, line) = (text("co_filename"), text("co_qualname"), number("co_firstlineno"));
    let ours = scope::is_ours(&file);
    let template = if ours { None } else { templates::of_running_frame(code.py()) };
    if let Some(named) = template.as_ref().and_then(|template| template.file.as_deref()) {
        file = named.into();
    }
    Function {
        key: code.as_ptr() as usize,
        in_scope: !ours && scope::holds(&file, &qualname, line),
        watched: AtomicBool::new(false),
        template: template.map(|template| template.lines),
        ours,
        file,
        line,
        name: text("co_name"),
        qualname,
        kind,
        _code: Some(code.clone().unbind()),
    }
}

/// cProfile's name of a C function.
fn describe_builtin(callable: &Bound<'_, PyAny>) -> String {
    let py = callable.py();
    let Ok(name) = callable.getattr("__name__").and_then(|name| name.extract::<String>()) else {
        return "<unknown>".to_owned();
    };
    if is_descriptor(callable.as_ptr()) {
        return callable.repr().map_or_else(|_| format!("<method '{name}'>"), |text| text.to_string());
    }
    let module = callable.getattr("__module__").ok().and_then(|module| module.extract::<String>().ok());
    let Ok(owner) =
        callable.getattr("__self__").and_then(|owner| if owner.is_none() { Err(none(py)) } else { Ok(owner) })
    else {
        return match module {
            Some(module) if module != "builtins" => format!("<{module}.{name}>"),
            _ => format!("<{name}>"),
        };
    };
    found_in_type(&owner, &name).unwrap_or_else(|| match module {
        Some(module) => format!("<built-in method {module}.{name}>"),
        None => format!("<built-in method {name}>"),
    })
}

fn none(_: Python<'_>) -> PyErr {
    pyo3::exceptions::PyTypeError::new_err(())
}

/// `repr` of the attribute `name` of the type of `owner`, found as `_PyType_Lookup` does, without calling descriptors.
fn found_in_type(owner: &Bound<'_, PyAny>, name: &str) -> Option<String> {
    let order = owner.get_type().getattr("__mro__").ok()?.cast_into::<PyTuple>().ok()?;
    for class in order.iter() {
        let members = class.getattr("__dict__").ok()?;
        let found = match members.cast::<PyDict>() {
            Ok(members) => members.get_item(name).ok().flatten(),
            Err(_) => members.get_item(name).ok(),
        };
        if let Some(found) = found {
            // SAFETY: the object is alive. Only types written in C are used, because an event must not run Python code.
            let heap = unsafe { ffi::PyType_GetFlags(ffi::Py_TYPE(found.as_ptr())) } & ffi::Py_TPFLAGS_HEAPTYPE != 0;
            if heap {
                return None;
            }
            return found.repr().ok().map(|text| text.to_string());
        }
    }
    None
}

/// Types of C functions, by which [`definition`] recognises them.
struct Builtins {
    function: usize,
    method: usize,
    descriptor: usize,
}

/// Offsets of `m_ml` in a `PyCFunctionObject` and of `d_method` in a `PyMethodDescrObject`: the same since 3.3.
const FUNCTION_DEFINITION: usize = 16;
const DESCRIPTOR_DEFINITION: usize = 40;

fn builtins() -> Option<&'static Builtins> {
    static FOUND: OnceLock<Option<Builtins>> = OnceLock::new();
    FOUND.get_or_init(find_builtins).as_ref()
}

fn find_builtins() -> Option<Builtins> {
    let found = Builtins {
        function: address(c"PyCFunction_Type") as usize,
        method: address(c"PyCMethod_Type") as usize,
        descriptor: address(c"PyMethodDescr_Type") as usize,
    };
    // Trust the offsets only if both give the expected names.
    // SAFETY: called with the GIL held, by the events; `len` and `dict.get` live as long as the interpreter.
    let (length, get) = Python::try_attach(|py| {
        let len = py.import("builtins").and_then(|module| module.getattr("len")).ok()?.as_ptr() as usize;
        let get = py.get_type::<PyDict>().getattr("get").ok()?.as_ptr() as usize;
        Some((len, get))
    })??;
    let named = |at: usize, offset: usize, name: &CStr| {
        // SAFETY: both are objects longer than the offset; a method definition begins with its name.
        unsafe {
            let definition = ((at + offset) as *const usize).read();
            let text = (definition as *const *const libc::c_char).read();
            CStr::from_ptr(text) == name
        }
    };
    let right = named(length, FUNCTION_DEFINITION, c"len") && named(get, DESCRIPTOR_DEFINITION, c"get");
    (found.function != 0 && found.descriptor != 0 && right).then_some(found)
}

fn is_descriptor(callable: *mut ffi::PyObject) -> bool {
    // SAFETY: the object lives.
    let kind = unsafe { ffi::Py_TYPE(callable) } as usize;
    builtins().is_some_and(|builtins| kind == builtins.descriptor)
}

/// Address of the method definition of a C function or method; 0 for any other callable.
#[inline(always)]
pub(super) fn definition(callable: *mut ffi::PyObject) -> usize {
    let Some(builtins) = builtins() else { return 0 };
    // SAFETY: the interpreter passed a live object, and its type says how long it is.
    unsafe {
        let kind = ffi::Py_TYPE(callable) as usize;
        let offset = if kind == builtins.function || kind == builtins.method {
            FUNCTION_DEFINITION
        } else if kind == builtins.descriptor {
            DESCRIPTOR_DEFINITION
        } else {
            return 0;
        };
        ((callable as usize + offset) as *const usize).read()
    }
}
