//! The value of one `ContextVar`, read without the GIL.
//!
//! Job: say which ledger the running thread's context has, where the interpreter may not be called: sqlite's functions
//! run without the GIL. Invariant: offsets were found by search, and [`prepare`] has compared what is read here with what
//! Python answers, in contexts of several sizes; otherwise nothing is read. A running thread's context is changed by that
//! thread alone, and keeps all values in it alive. Neighbour: `ledger` gives values their meaning.
//!
//! ```text
//! thread state -> context -> ctx_vars (a map) -> h_root -> nodes, five bits of the variable's hash each -> value
//! ```

use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

/// Offsets that 3.11 to 3.15 share: `PyContext.ctx_vars`, `PyHamtObject.h_root`.
const CONTEXT_VARS: usize = 24;
const MAP_ROOT: usize = 16;
/// A bitmap node's and a collision node's: their word, and their pairs of key and value.
const NODE_WORD: usize = 24;
const NODE_PAIRS: usize = 32;
/// A full node's children.
const NODE_CHILDREN: usize = 16;
const OB_TYPE: usize = 8;
const OB_SIZE: usize = 16;
/// Words of the thread state that are searched.
const THREAD_STATE_WORDS: usize = 90;
/// Five bits a level of a hash of 32, and a level of collisions.
const DEEPEST: usize = 8;

/// How to read the variable.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// Offset of the context in the thread state.
    context: usize,
    variable: usize,
    hash: u32,
    bitmap: usize,
    array: usize,
}

static READER: OnceLock<Option<Reader>> = OnceLock::new();

/// Can the variable be read?
pub(super) fn prepare(py: Python<'_>, variable: &Bound<'_, PyAny>) -> bool {
    READER.get_or_init(|| learn(py, variable).ok().flatten()).is_some()
}

/// Address of the variable's value in the context of this thread state, the running thread's own; 0 where it has none.
#[inline]
pub(super) fn value(tstate: usize) -> usize {
    match READER.get() {
        Some(Some(reader)) => reader.value(tstate),
        _ => 0,
    }
}

/// The word at an address.
#[inline(always)]
fn word(address: usize) -> usize {
    // SAFETY: `address` lies in the running thread's own context or its map, which live; see the module doc.
    unsafe { (address as *const usize).read() }
}

impl Reader {
    #[inline]
    fn value(&self, tstate: usize) -> usize {
        let context = word(tstate + self.context);
        if context == 0 {
            return 0;
        }
        let map = word(context + CONTEXT_VARS);
        if map == 0 {
            return 0;
        }
        let mut node = word(map + MAP_ROOT);
        let mut hash = self.hash;
        for _ in 0..DEEPEST {
            if node == 0 {
                return 0;
            }
            let kind = word(node + OB_TYPE);
            let digit = hash & 31;
            hash >>= 5;
            if kind == self.array {
                node = word(node + NODE_CHILDREN + digit as usize * 8);
            } else if kind == self.bitmap {
                let bits = word(node + NODE_WORD) as u32;
                let bit = 1_u32 << digit;
                if bits & bit == 0 {
                    return 0;
                }
                let pair = node + NODE_PAIRS + 16 * (bits & (bit - 1)).count_ones() as usize;
                let (key, value) = (word(pair), word(pair + 8));
                if key != 0 {
                    return if key == self.variable { value } else { 0 };
                }
                node = value;
            } else {
                let words = word(node + OB_SIZE).min(64);
                let keys = (0..words / 2).map(|at| node + NODE_PAIRS + at * 16);
                return keys.filter(|&pair| word(pair) == self.variable).map(|pair| word(pair + 8)).next().unwrap_or(0);
            }
        }
        0
    }
}

fn tstate() -> usize {
    // SAFETY: the GIL is held by whoever prepares.
    unsafe { ffi::PyThreadState_Get() as usize }
}

fn learn(py: Python<'_>, variable: &Bound<'_, PyAny>) -> PyResult<Option<Reader>> {
    let module = py.import("contextvars")?;
    let hash = variable.hash()? as i64 as u64;
    let folded = (hash as u32) ^ ((hash >> 32) as u32);
    let hash = if folded == u32::MAX { u32::MAX - 1 } else { folded };
    // A context with `others` other variables, and with ours in it.
    let make = |others: usize, value: Option<&Bound<'_, PyAny>>| -> PyResult<Bound<'_, PyAny>> {
        let context = module.getattr("Context")?.call0()?;
        for _ in 0..others {
            let other = module.getattr("ContextVar")?.call1(("rscalene_other",))?;
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
            // The thread state is larger than this in all versions.
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
        let map = word(context.as_ptr() as usize + CONTEXT_VARS);
        word(word(map + MAP_ROOT) + OB_TYPE)
    };
    // That these are maps is asked before they are read as such.
    for context in [&one, &many] {
        // SAFETY: a type's name is its fourth word in all versions.
        let named_map = |object: usize| unsafe {
            let name = word(word(object + OB_TYPE) + 24) as *const libc::c_char;
            std::ffi::CStr::from_ptr(name) == c"hamt"
        };
        let map = word(context.as_ptr() as usize + CONTEXT_VARS);
        if map < 4_096 || !map.is_multiple_of(8) || !named_map(map) {
            return Ok(None);
        }
    }
    let (bitmap, array) = (kind_of_root(&one), kind_of_root(&many));
    let reader = Reader { context, variable: variable.as_ptr() as usize, hash, bitmap, array };
    if bitmap == array {
        return Ok(None);
    }
    for others in [0, 1, 10, 60, 300] {
        for value in [None, Some(&truth)] {
            let expected = value.map_or(0, |value| value.as_ptr() as usize);
            let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(1));
            let into = std::sync::Arc::clone(&read);
            let look = PyCFunction::new_closure(py, None, None, move |_, _| {
                into.store(reader.value(tstate()), std::sync::atomic::Ordering::Relaxed);
            })?;
            make(others, value)?.call_method1("run", (look,))?;
            if read.load(std::sync::atomic::Ordering::Relaxed) != expected {
                return Ok(None);
            }
        }
    }
    Ok(Some(reader))
}
