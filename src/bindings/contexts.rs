//! Finds out how this interpreter stores the value of a `ContextVar`, so that it can be read without the GIL.
//!
//! Job: find the offsets at run time. Invariant: `learn` finds each offset by search, and compares a value read through
//! the offsets with Python's own answer, in contexts of several sizes. If any answer differs, `learn` returns `None`
//! and rscalene reads no context. Only the running thread changes its own context, and the context keeps all of its
//! values alive. Neighbours: `interp` walks the maps, `sql` reads its ledger, the shim reads labels.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;
use rscalene_interp::{ContextVariable, Memory};

/// Offset of `ctx_vars` in a context, of the type in an object, and of the name in a type.
const CONTEXT_VARS: usize = 24;
const OB_TYPE: usize = 8;
const TYPE_NAME: usize = 24;
/// Number of 8-byte words of the thread state to search.
const THREAD_STATE_WORDS: usize = 90;

/// The memory of the running thread's own context, and of the objects that the context keeps alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnContext;

impl Memory for OwnContext {
    #[inline(always)]
    fn u64(&self, addr: u64) -> Option<u64> {
        Some(word(addr as usize) as u64)
    }

    #[inline(always)]
    fn u32(&self, addr: u64) -> Option<u32> {
        // SAFETY: as in `word`.
        Some(unsafe { (addr as *const u32).read() })
    }

    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        // SAFETY: as in `word`.
        into.copy_from_slice(unsafe { std::slice::from_raw_parts(addr as *const u8, into.len()) });
        true
    }
}

/// The word at an address.
#[inline(always)]
fn word(address: usize) -> usize {
    // SAFETY: `address` lies in the running thread's own context or its map, which live; see the module doc.
    unsafe { (address as *const usize).read() }
}

fn tstate() -> usize {
    // SAFETY: the callers of `learn` hold the GIL.
    unsafe { ffi::PyThreadState_Get() as usize }
}

/// How to read `variable`. `None` if this interpreter stores contexts in an unknown way.
///
/// # Errors
/// The exceptions that Python raises while `learn` makes contexts.
pub(crate) fn learn(py: Python<'_>, variable: &Bound<'_, PyAny>) -> PyResult<Option<ContextVariable>> {
    let module = py.import("contextvars")?;
    let hash = variable.hash()? as i64 as u64;
    let folded = (hash as u32) ^ ((hash >> 32) as u32);
    let hash = if folded == u32::MAX { u32::MAX - 1 } else { folded };
    // Makes a context with `others` other variables, and with `variable` if `value` is given.
    let make = |others: usize, value: Option<&Bound<'_, PyAny>>| -> PyResult<Bound<'_, PyAny>> {
        let context = module.getattr("Context")?.call0()?;
        for number in 0..others {
            // Different names scatter the hashes. Variables with similar addresses would fill at most half of a node,
            // and then the interpreter would not make a full node.
            let other = module.getattr("ContextVar")?.call1((format!("rscalene_other_{number}"),))?;
            context.call_method1("run", (other.getattr("set")?, py.None()))?;
        }
        if let Some(value) = value {
            context.call_method1("run", (variable.getattr("set")?, value))?;
        }
        Ok(context)
    };
    let truth = module.getattr("Token")?.into_any();
    let (one, many) = (make(0, Some(&truth))?, make(60, Some(&truth))?);
    let context = {
        let address = one.as_ptr() as usize;
        let found = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let into = std::sync::Arc::clone(&found);
        let search = PyCFunction::new_closure(py, None, None, move |_, _| {
            let state = tstate();
            // The thread state is larger than the searched range in all supported versions.
            let places = (0..THREAD_STATE_WORDS).map(|at| at * 8).filter(|at| word(state + at) == address);
            if let Ok(mut into) = into.lock() {
                into.extend(places);
            }
        })?;
        one.call_method1("run", (search,))?;
        let found = found.lock().map(|found| found.clone()).unwrap_or_default();
        match found[..] {
            [place] => place,
            _ => return Ok(None),
        }
    };
    let kind_of_root = |context: &Bound<'_, PyAny>| {
        ContextVariable::root(&OwnContext, context.as_ptr() as u64)
            .map_or(0, |root| word(root as usize + OB_TYPE) as u64)
    };
    // Check that both objects are maps before reading them as maps.
    for context in [&one, &many] {
        // SAFETY: a type's name is its fourth word in all versions.
        let named_map = |object: usize| unsafe {
            let name = word(word(object + OB_TYPE) + TYPE_NAME) as *const libc::c_char;
            std::ffi::CStr::from_ptr(name) == c"hamt"
        };
        let map = word(context.as_ptr() as usize + CONTEXT_VARS);
        if map < 4_096 || !map.is_multiple_of(8) || !named_map(map) {
            return Ok(None);
        }
    }
    let (bitmap, array) = (kind_of_root(&one), kind_of_root(&many));
    let context = context as u32;
    let reader = ContextVariable { context, hash, variable: variable.as_ptr() as u64, bitmap, array };
    if bitmap == array {
        return Ok(None);
    }
    for others in [0, 1, 10, 60, 300] {
        for value in [None, Some(&truth)] {
            let expected = value.map_or(0, |value| value.as_ptr() as usize);
            let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(1));
            let into = std::sync::Arc::clone(&read);
            let look = PyCFunction::new_closure(py, None, None, move |_, _| {
                let read = reader.value(&OwnContext, tstate() as u64).unwrap_or(0);
                into.store(read as usize, std::sync::atomic::Ordering::Relaxed);
            })?;
            make(others, value)?.call_method1("run", (look,))?;
            if read.load(std::sync::atomic::Ordering::Relaxed) != expected {
                return Ok(None);
            }
        }
    }
    Ok(Some(reader))
}
