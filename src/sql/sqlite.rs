//! Hooks between the standard library's `_sqlite3` module and the sqlite library.
//!
//! Job: count executions, their time in sqlite and their rows, exactly, for every Python code that uses `_sqlite3`.
//! Invariants: every hook returns the real function's result; it runs without the GIL and never takes the GIL; a row
//! costs two readings of the clock and no lock. Neighbours: `arm` and `slots` install the hooks, `ledger::meaning`
//! decides where an execution counts, `lock` keeps the books.
//!
//! An execution begins when `step` gets a statement that is not busy. `executemany` runs one statement repeatedly on
//! one line, and this counts as one execution. Between separate executions, `_sqlite3` asks for the last inserted row
//! or whether a transaction is open. From these calls the hooks know that the next `step` is a separate execution.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;
use rustc_hash::FxHasher;

use super::book::{Site, Slot, Stretch};
use super::ledger::{Meaning, meaning};
use super::lock::{self, State};
use super::nodes::{Known, Node, add};
use super::slots::Library;
use super::to_launcher::Layer;
use crate::lines::clock;

/// After this many rows of an execution, its rows and time are reported to the launcher.
const ROWS_AT_ONCE: u64 = 256;

const SQLITE_OK: c_int = 0;
const SQLITE_ROW: c_int = 100;
const SQLITE_DONE: c_int = 101;

/// Addresses of the real functions. [`arm`] writes them before it redirects a slot.
static STEP: AtomicUsize = AtomicUsize::new(0);
static FINALIZE: AtomicUsize = AtomicUsize::new(0);
static PREPARE: AtomicUsize = AtomicUsize::new(0);
static LAST_ROW: AtomicUsize = AtomicUsize::new(0);
static AUTOCOMMIT: AtomicUsize = AtomicUsize::new(0);
static BUSY: AtomicUsize = AtomicUsize::new(0);
static SQL: AtomicUsize = AtomicUsize::new(0);
static EXPANDED: AtomicUsize = AtomicUsize::new(0);
static FREE: AtomicUsize = AtomicUsize::new(0);
static PARAMETERS: AtomicUsize = AtomicUsize::new(0);
static HANDLE: AtomicUsize = AtomicUsize::new(0);
static CHANGES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The node of the last statement stepped by this thread.
    static LAST: Cell<Option<&'static Node>> = const { Cell::new(None) };
    /// The statement of the execution that has just ended. If `executemany` steps it again, the execution continues.
    static DONE: Cell<usize> = const { Cell::new(0) };
}

/// Calls the real function at `$at`, with these types.
macro_rules! real {
    ($at:expr, fn($($type:ty),*) -> $ret:ty, $($argument:expr),*) => {{
        // SAFETY: `arm` looked up the address in the library by the name of this function.
        let function: unsafe extern "C" fn($($type),*) -> $ret = unsafe { std::mem::transmute($at.load(Relaxed)) };
        // SAFETY: the arguments are the caller's own.
        unsafe { function($($argument),*) }
    }};
}

/// Installs the hooks. Returns false if `_sqlite3` does not call a shared sqlite library.
pub(super) fn arm(py: Python<'_>) -> PyResult<bool> {
    static ARMED: AtomicUsize = AtomicUsize::new(0);
    match ARMED.load(Relaxed) {
        0 => {}
        answer => return Ok(answer == 2),
    }
    let path = py.import("_sqlite3").and_then(|module| module.getattr("__file__")).and_then(|file| file.extract());
    let path: String = path.unwrap_or_default();
    let armed = patch(&path).is_some();
    ARMED.store(if armed { 2 } else { 1 }, Relaxed);
    Ok(armed)
}

fn patch(path: &str) -> Option<()> {
    let library = Library::find(path)?;
    let needed: [(&CStr, &AtomicUsize); 7] = [
        (c"sqlite3_stmt_busy", &BUSY),
        (c"sqlite3_sql", &SQL),
        (c"sqlite3_expanded_sql", &EXPANDED),
        (c"sqlite3_free", &FREE),
        (c"sqlite3_bind_parameter_count", &PARAMETERS),
        (c"sqlite3_db_handle", &HANDLE),
        (c"sqlite3_changes", &CHANGES),
    ];
    for (name, place) in needed {
        place.store(Some(library.function(name)).filter(|&address| address != 0)?, Relaxed);
    }
    let hooks: [(&CStr, &AtomicUsize, usize); 5] = [
        (c"sqlite3_get_autocommit", &AUTOCOMMIT, get_autocommit as *const () as usize),
        (c"sqlite3_finalize", &FINALIZE, finalize as *const () as usize),
        (c"sqlite3_last_insert_rowid", &LAST_ROW, last_insert_rowid as *const () as usize),
        (c"sqlite3_prepare_v2", &PREPARE, prepare_v2 as *const () as usize),
        (c"sqlite3_step", &STEP, step as *const () as usize),
    ];
    for (name, place, ours) in hooks {
        // Store the address before redirecting the slot, because another thread may call the hook at once.
        place.store(Some(library.function(name)).filter(|&address| address != 0)?, Relaxed);
        let before = library.redirect(name, ours);
        if before == 0 {
            return None;
        }
        place.store(before, Relaxed);
    }
    Some(())
}

/// The running thread's state; 0 for a thread unknown to Python. The thread does not hold the GIL.
fn tstate() -> usize {
    // SAFETY: callable from any thread.
    unsafe { ffi::PyGILState_GetThisThreadState() as usize }
}

unsafe extern "C" fn step(statement: *mut c_void) -> c_int {
    if !lock::counting() {
        return real!(STEP, fn(*mut c_void) -> c_int, statement);
    }
    let busy = real!(BUSY, fn(*mut c_void) -> c_int, statement) != 0;
    let known = LAST.get().filter(|node| busy && node.is(statement)).or_else(|| begin(statement, busy));
    let Some(node) = known else { return real!(STEP, fn(*mut c_void) -> c_int, statement) };
    LAST.set(Some(node));
    let before = clock::ticks();
    let answer = real!(STEP, fn(*mut c_void) -> c_int, statement);
    add(&node.ticks, clock::ticks().wrapping_sub(before));
    if answer == SQLITE_ROW {
        add(&node.rows, 1);
        // A signal that ends the process loses at most this many rows.
        if node.rows.load(Relaxed) >= ROWS_AT_ONCE && lock::followed() {
            lock::with(|state| state.settle_statement(statement as usize));
        }
    } else {
        finish(node, statement, answer, busy);
    }
    answer
}

/// The node for this step; `None` if the step does not count.
#[cold]
fn begin(statement: *mut c_void, busy: bool) -> Option<&'static Node> {
    let key = statement as usize;
    if busy {
        // The statement continues on another thread, or began before any book was open.
        return lock::with(|state| {
            state.nodes.known.get(&key).map(|known| known.node).filter(|node| node.is(statement))
        });
    }
    let tstate = tstate();
    if tstate == 0 {
        return None;
    }
    let goes_on = DONE.replace(0) == key;
    let meaning = meaning(tstate);
    lock::with(|state| {
        if goes_on {
            let here = state.here(tstate);
            if let Some(known) = state.nodes.known.get(&key).filter(|known| Arc::ptr_eq(&known.site, &here)) {
                known.node.running.store(true, Relaxed);
                return Some(known.node);
            }
        }
        state.settle_statement(key);
        let (slots, site, own) = match meaning {
            Meaning::Counted(slots) => (slots.to_vec(), Site::from([]), false),
            Meaning::Count(_) | Meaning::Nothing => {
                let book = if let Meaning::Count(book) = meaning { Some(book) } else { None };
                if book.is_none() && !state.counts_all() {
                    if let Some(known) = state.nodes.known.get_mut(&key) {
                        known.slots.clear();
                    }
                    return None;
                }
                let normal = match state.nodes.known.get(&key) {
                    Some(known) => known.normal.clone(),
                    None => state.statement(&text_of(statement), false),
                };
                let site = state.here(tstate);
                (state.begin(book, &site, &normal, Layer::Driver, None), site, true)
            }
        };
        enter(state, statement, slots, site, own);
        let known = state.nodes.known.get_mut(&key)?;
        let (node, bound) = (known.node, known.parameters);
        if own {
            let mut slots = std::mem::take(&mut known.slots);
            let hash = state.wants_parameters(&slots).then(|| parameters(statement, bound));
            state.begun(&mut slots, hash);
            if let Some(known) = state.nodes.known.get_mut(&key) {
                known.slots = slots;
            }
        }
        Some(node)
    })
}

/// Gives the statement a node and starts an execution on the node.
fn enter(state: &mut State, statement: *mut c_void, slots: Vec<Slot>, site: Site, own: bool) {
    let key = statement as usize;
    if !state.nodes.known.contains_key(&key) {
        let normal = state.statement(&text_of(statement), false);
        let node = state.nodes.unused.pop().unwrap_or_else(|| Box::leak(Box::default()));
        let word = normal.split(|letter: char| !letter.is_ascii_alphabetic()).find(|word| !word.is_empty());
        let changes = ["insert", "update", "delete", "replace", "with"];
        let known = Known {
            node,
            slots: Vec::new(),
            site: site.clone(),
            own,
            changes: word.is_some_and(|word| changes.iter().any(|change| word.eq_ignore_ascii_case(change))),
            parameters: real!(PARAMETERS, fn(*mut c_void) -> c_int, statement) > 0,
            normal,
            spent_ns: 0,
        };
        node.statement.store(key, Relaxed);
        state.nodes.known.insert(key, known);
    }
    if let Some(known) = state.nodes.known.get_mut(&key) {
        known.slots = slots;
        known.site = site;
        known.own = own;
        known.spent_ns = 0;
        known.node.running.store(true, Relaxed);
    }
}

/// Hash of the text with its parameters filled in.
fn parameters(statement: *mut c_void, bound: bool) -> u64 {
    let mut hasher = FxHasher::default();
    if !bound {
        text_of(statement).hash(&mut hasher);
        return hasher.finish();
    }
    let expanded = real!(EXPANDED, fn(*mut c_void) -> *mut c_char, statement);
    if expanded.is_null() {
        (statement as usize, clock::ticks()).hash(&mut hasher);
        return hasher.finish();
    }
    // SAFETY: the text ends with NUL; the caller of `sqlite3_expanded_sql` owns and frees the text.
    unsafe { CStr::from_ptr(expanded) }.hash(&mut hasher);
    real!(FREE, fn(*mut c_char) -> (), expanded);
    hasher.finish()
}

fn text_of(statement: *mut c_void) -> String {
    let text = real!(SQL, fn(*mut c_void) -> *const c_char, statement);
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the text of a statement ends with NUL and lives as long as the statement.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Ends an execution with the result `answer` of a step. `returned`: the statement has returned rows before. No
/// statement in `executemany` returns rows.
#[cold]
fn finish(node: &'static Node, statement: *mut c_void, answer: c_int, returned: bool) {
    let key = statement as usize;
    DONE.set(if answer == SQLITE_DONE && !returned { key } else { 0 });
    lock::with(|state| {
        if answer == SQLITE_DONE
            && node.rows.load(Relaxed) == 0
            && state.nodes.known.get(&key).is_some_and(|known| known.changes)
        {
            let connection = real!(HANDLE, fn(*mut c_void) -> *mut c_void, statement);
            let changed = real!(CHANGES, fn(*mut c_void) -> c_int, connection);
            add(&node.rows, u64::try_from(changed).unwrap_or(0));
        }
        node.running.store(false, Relaxed);
        state.end_statement(key, answer != SQLITE_DONE);
    });
}

unsafe extern "C" fn finalize(statement: *mut c_void) -> c_int {
    if !statement.is_null() {
        if DONE.get() == statement as usize {
            DONE.set(0);
        }
        forget(statement as usize);
    }
    real!(FINALIZE, fn(*mut c_void) -> c_int, statement)
}

/// Forgets a statement, because sqlite may use its address for another statement.
fn forget(key: usize) {
    lock::with(|state| {
        if !state.nodes.known.contains_key(&key) {
            return;
        }
        state.settle_statement(key);
        if let Some(known) = state.nodes.known.remove(&key) {
            known.node.running.store(false, Relaxed);
            known.node.statement.store(0, Relaxed);
            state.nodes.unused.push(known.node);
        }
    });
}

unsafe extern "C" fn last_insert_rowid(connection: *mut c_void) -> i64 {
    DONE.set(0);
    real!(LAST_ROW, fn(*mut c_void) -> i64, connection)
}

unsafe extern "C" fn get_autocommit(connection: *mut c_void) -> c_int {
    DONE.set(0);
    real!(AUTOCOMMIT, fn(*mut c_void) -> c_int, connection)
}

/// Counts a statement that cannot be prepared as a failed execution, as for other databases.
unsafe extern "C" fn prepare_v2(
    connection: *mut c_void,
    sql: *const c_char,
    bytes: c_int,
    statement: *mut *mut c_void,
    tail: *mut *const c_char,
) -> c_int {
    let answer = real!(
        PREPARE,
        fn(*mut c_void, *const c_char, c_int, *mut *mut c_void, *mut *const c_char) -> c_int,
        connection,
        sql,
        bytes,
        statement,
        tail
    );
    if answer != SQLITE_OK && lock::counting() && !sql.is_null() {
        // SAFETY: the text ends with NUL, or has the length given by the caller.
        let text = unsafe {
            match usize::try_from(bytes) {
                Ok(length) => std::slice::from_raw_parts(sql.cast::<u8>(), libc::strnlen(sql, length)),
                Err(_) => CStr::from_ptr(sql).to_bytes(),
            }
        };
        failed(&String::from_utf8_lossy(text));
    }
    answer
}

#[cold]
fn failed(sql: &str) {
    let tstate = tstate();
    if tstate == 0 {
        return;
    }
    let book = match meaning(tstate) {
        Meaning::Counted(_) => return,
        Meaning::Count(book) => Some(book),
        Meaning::Nothing => None,
    };
    lock::with(|state| {
        if book.is_none() && !state.counts_all() {
            return;
        }
        let (site, normal): (Site, _) = (state.here(tstate), state.statement(sql, false));
        let mut slots = state.begin(book, &site, &normal, Layer::Driver, None);
        state.begun(&mut slots, None);
        state.end(&slots, &Stretch { failed: true, ..Stretch::default() });
    });
}
