//! Allocation samples of this process, for any number of samplers at once.
//!
//! Job: have the shim sample while a listener is registered, drain the shim's ring, and give every listener the records
//! from the time of its subscription. Invariant: the shim's hooks are in place exactly while a listener is registered;
//! a later listener gets all earlier definitions. Neighbours: `rscalene_wire::tap` is the contract, `sampler`
//! subscribes, `transport` decodes.
//!
//! The process-wide part ([`CURRENT`]) is touched only with the GIL held, so a fork from Python never copies a partial
//! update. The ring and the queues are behind a lock whose holder never asks for the GIL; a forked child never takes
//! its parent's lock.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use rscalene_wire::{
    MemoryMode, PAGE, STACK_SLOTS, SectionMark, Settings, Switch, TAP_SYMBOL, TAP_VERSION, TapAnswer, TapTable,
    stack_slot,
};

use crate::bindings::{load_shim, symbols};
use crate::transport::arena::Arena;
use crate::transport::drain::Reader;
use crate::transport::event::{Body, Counters, Event};

/// Bytes of the ring: a quarter of a second of the densest recording observed.
const RING_BYTES: usize = 4 << 20;
/// Mean bytes between two samples at the start, as under `rscalene run`.
const INTERVAL_BYTES: u64 = 64 * 1024;
/// Keeps the shim's code numbers apart from the numbers that the samplers define themselves.
const CODE_BIT: u32 = 1 << 30;

/// The ring and its listeners.
#[derive(Debug)]
pub(super) struct Tap {
    shared: Mutex<Shared>,
    arena: Arc<Arena>,
    table: &'static TapTable,
}

/// Most definitions to keep before dropping any: more than the stacks of the shim's table.
const MOST_DEFINITIONS: usize = 4 * STACK_SLOTS;

#[derive(Debug)]
struct Shared {
    reader: Option<Reader>,
    /// Code objects, labels, and stacks. The shim sends these once, and later records refer to them by number.
    definitions: Vec<Event>,
    /// Above this number of definitions, definitions of stacks that the shim has forgotten are dropped.
    most_definitions: usize,
    listeners: Vec<Listener>,
    next: u64,
}

#[derive(Debug)]
struct Listener {
    id: u64,
    /// True until the listener leaves.
    open: bool,
    paused: bool,
    queue: Vec<Event>,
    /// The counters at the begin of the listener.
    before: Counters,
}

/// The registration of a listener. Dropping the registration ends it (with the GIL held).
#[derive(Debug)]
pub(super) struct Subscription {
    tap: Arc<Tap>,
    id: u64,
    left: bool,
}

/// The receiver for a listener's own thread. It takes events without the GIL.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    tap: Arc<Tap>,
    id: u64,
}

struct Current {
    pid: u32,
    tap: Arc<Tap>,
    end: unsafe extern "C" fn(),
}

struct Held(RefCell<Option<Current>>);
// SAFETY: only reached with the GIL held, because `current` takes a `Python` token.
unsafe impl Sync for Held {}
static CURRENT: Held = Held(RefCell::new(None));

fn current(_held: Python<'_>) -> &'static RefCell<Option<Current>> {
    &CURRENT.0
}

/// Subscribes to the records.
///
/// # Errors
/// The inner error is a message: the reason why this process' allocations cannot be sampled.
pub(super) fn subscribe(py: Python<'_>) -> PyResult<Result<Subscription, String>> {
    forget_parents(py);
    let known = current(py).borrow().as_ref().map(|current| Arc::clone(&current.tap));
    let tap = match known {
        Some(tap) => tap,
        None => match begin(py)? {
            Ok(tap) => tap,
            Err(why) => return Ok(Err(why)),
        },
    };
    let id = tap.shared().join(&tap.arena);
    Ok(Ok(Subscription { tap, id, left: false }))
}

/// Ends sampling for all listeners. Called when the interpreter ends, and in a forked child.
pub(super) fn unhook(py: Python<'_>) {
    let taken = current(py).borrow_mut().take();
    if let Some(current) = taken {
        // SAFETY: the GIL is held, and the caller is not inside an allocator.
        unsafe { (current.end)() };
        if current.pid != std::process::id() {
            // A thread of the parent may hold the lock, and that thread does not exist here.
            std::mem::forget(current.tap);
        }
    }
}

/// In a forked child: removes the hooks inherited from the parent.
fn forget_parents(py: Python<'_>) {
    if current(py).borrow().as_ref().is_some_and(|current| current.pid != std::process::id()) {
        unhook(py);
    }
}

/// A section in the launcher's profile of this process. Dropping the guard ends the section.
#[derive(Debug)]
pub(super) struct SectionGuard {
    number: u32,
    table: &'static TapTable,
    own_ns: Arc<AtomicU64>,
}

impl SectionGuard {
    /// Begins a section; `None` if no launcher records. `own_ns` holds the CPU time of the profiler itself.
    pub(super) fn begin(name: &str, own_ns: &Arc<AtomicU64>) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let symbol = symbols::address(TAP_SYMBOL);
        let table = if symbol.is_null() { None } else { table(symbol).ok() }?;
        let mark = Self { number: NUMBER.fetch_add(1, Relaxed), table, own_ns: Arc::clone(own_ns) };
        // If no launcher records, no section has begun, so there is no section to end.
        mark.send(SectionMark::BEGIN, name).then_some(mark)
    }

    fn send(&self, mark: SectionMark, name: &str) -> bool {
        let own_ns = self.own_ns.load(Relaxed);
        // SAFETY: the name is valid for the call, and the caller is not inside an allocator.
        unsafe { (self.table.section)(self.number, mark, own_ns, name.as_ptr(), name.len()) != 0 }
    }
}

impl Drop for SectionGuard {
    fn drop(&mut self) {
        self.send(SectionMark::END, "");
    }
}

fn table(symbol: *mut c_void) -> Result<&'static TapTable, String> {
    // SAFETY: the symbol is a function of this type in every version of the shim that exports it.
    let answer: extern "C" fn() -> *const TapTable = unsafe { std::mem::transmute(symbol) };
    // SAFETY: the shim returns a static.
    let table = unsafe { &*answer() };
    if table.version == TAP_VERSION {
        Ok(table)
    } else {
        Err(format!("the shim speaks version {}, not {TAP_VERSION}", table.version))
    }
}

fn begin(py: Python<'_>) -> PyResult<Result<Arc<Tap>, String>> {
    let table = match load_shim::function(py, TAP_SYMBOL)?.and_then(table) {
        Ok(table) => table,
        Err(why) => return Ok(Err(why)),
    };
    let settings = Settings {
        memory_mode: MemoryMode::SAMPLED,
        memory_interval_bytes: INTERVAL_BYTES,
        memory_adaptive: Switch::ON,
        ..Settings::default()
    };
    let arena = match Arena::create(settings, 1, PAGE + RING_BYTES) {
        Ok(arena) => Arc::new(arena),
        Err(error) => return Ok(Err(format!("there is no memory to record into: {error}"))),
    };
    // SAFETY: the GIL is held, the caller is not inside an allocator, and `Tap` keeps the arena until after `end`. The
    // address makes the shim leave this library unhooked.
    let begun = TapAnswer::from_u32(unsafe { (table.begin)(arena.lend(), begin as *const () as usize) });
    let why = match begun {
        TapAnswer::Begun => {
            let shared = Shared {
                reader: Some(Reader::new(Arc::clone(&arena))),
                definitions: Vec::new(),
                most_definitions: MOST_DEFINITIONS,
                listeners: Vec::new(),
                next: 0,
            };
            let tap = Arc::new(Tap { shared: Mutex::new(shared), arena, table });
            let now = Current { pid: std::process::id(), tap: Arc::clone(&tap), end: table.end };
            *current(py).borrow_mut() = Some(now);
            return Ok(Ok(tap));
        }
        TapAnswer::Preloaded => "this program's allocations belong to `rscalene run`, whose profile has them",
        TapAnswer::NoAllocator => "this process has no allocator that can be hooked",
        TapAnswer::NoFrames => "the interpreter's frames cannot be read",
        TapAnswer::NoMemory => "the system gave no memory",
    };
    Ok(Err(why.to_owned()))
}

impl Tap {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Moves the records of the ring to the queues of the listeners.
    fn pump(&mut self) {
        let Some(reader) = &mut self.reader else { return };
        let (definitions, listeners) = (&mut self.definitions, &mut self.listeners);
        let most = &mut self.most_definitions;
        reader.look(&mut |mut event| {
            number(&mut event.body);
            if matches!(event.body, Body::CodeDef(_) | Body::StackDef(_) | Body::Label { .. }) {
                definitions.push(event.clone());
                if definitions.len() > *most {
                    forget_stacks(definitions);
                    *most = MOST_DEFINITIONS.max(definitions.len() * 2);
                }
            }
            let fresh = matches!(&event.body, Body::Alloc { .. } | Body::Copy(_))
                || matches!(&event.body, Body::Map { map, .. } if map.old_size != u64::MAX);
            let mut wanted: Vec<_> =
                listeners.iter_mut().filter(|listener| listener.open && !(fresh && listener.paused)).collect();
            if let Some(last) = wanted.pop() {
                for listener in wanted {
                    listener.queue.push(event.clone());
                }
                last.queue.push(event);
            }
        });
    }

    fn join(&mut self, arena: &Arena) -> u64 {
        self.pump();
        self.next += 1;
        let (id, queue, before) = (self.next, self.definitions.clone(), arena.counters(0, 0));
        self.listeners.push(Listener { id, open: true, paused: false, queue, before });
        id
    }
}

impl Subscription {
    /// A receiver for the listener's thread.
    pub(super) fn receiver(&self) -> Receiver {
        Receiver { tap: Arc::clone(&self.tap), id: self.id }
    }

    /// The function table of the shim that samples.
    pub(super) fn table(&self) -> &'static TapTable {
        self.tap.table
    }

    /// Begins or ends a pause. During a pause the listener gets no new allocations.
    pub(super) fn pause(&self, paused: bool) {
        let mut shared = self.tap.shared();
        shared.pump();
        if let Some(listener) = shared.listeners.iter_mut().find(|listener| listener.id == self.id) {
            listener.paused = paused;
        }
    }

    /// Ends the recording for this listener; earlier records are still in its queue. The last listener to leave removes
    /// the hooks.
    pub(super) fn leave(&mut self, py: Python<'_>) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        forget_parents(py);
        let ours = current(py).borrow().as_ref().is_some_and(|current| Arc::ptr_eq(&current.tap, &self.tap));
        if !ours {
            return;
        }
        let alone = self.tap.shared().listeners.iter().all(|listener| listener.id == self.id || !listener.open);
        if alone {
            unhook(py);
        }
        let mut shared = self.tap.shared();
        shared.pump();
        if let Some(listener) = shared.listeners.iter_mut().find(|listener| listener.id == self.id) {
            let counters = since(self.tap.arena.counters(0, 0), &listener.before);
            let body = Body::Counters(Box::new(counters));
            listener.queue.push(Event { pid: std::process::id(), body });
            // Later records belong to the other listeners only.
            listener.open = false;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        Python::attach(|py| self.leave(py));
    }
}

impl Receiver {
    /// Keeps the allocations of the calling thread out of the recording. Callers: the sampler's own threads.
    pub(super) fn keep_thread_out(&self) {
        (self.tap.table.keep_thread_out)();
    }

    /// Takes the records since the last call.
    pub(super) fn take(&self, out: &mut Vec<Event>) {
        let mut shared = self.tap.shared();
        shared.pump();
        if let Some(listener) = shared.listeners.iter_mut().find(|listener| listener.id == self.id) {
            out.append(&mut listener.queue);
        }
    }

    /// Takes the remaining records and removes the listener.
    pub(super) fn finish(self, out: &mut Vec<Event>) {
        let mut shared = self.tap.shared();
        let place = shared.listeners.iter().position(|listener| listener.id == self.id);
        if let Some(mut listener) = place.map(|place| shared.listeners.swap_remove(place)) {
            out.append(&mut listener.queue);
        }
    }
}

/// Drops the definitions of stacks that the shim has forgotten. The shim defines such a stack again before its next
/// use.
fn forget_stacks(definitions: &mut Vec<Event>) {
    let mut later = vec![0u8; STACK_SLOTS];
    let mut kept: Vec<Event> = Vec::with_capacity(definitions.len() / 2);
    for event in definitions.drain(..).rev() {
        if let Body::StackDef(stack) = &event.body {
            let seen = &mut later[stack_slot(stack.def.stack)];
            *seen = seen.saturating_add(1);
            // Keep two definitions: another thread may still send a record with the earlier definition.
            if *seen > 2 {
                continue;
            }
        }
        kept.push(event);
    }
    kept.reverse();
    *definitions = kept;
}

/// Changes the code numbers of a definition, so that they differ from the samplers' numbers.
fn number(body: &mut Body) {
    match body {
        Body::CodeDef(code) => code.def.code |= CODE_BIT,
        Body::StackDef(stack) => stack.entries.iter_mut().for_each(|entry| entry.code |= CODE_BIT),
        _ => {}
    }
}

/// The counts since `before`.
fn since(mut now: Counters, before: &Counters) -> Counters {
    for (now, before) in now.lost.iter_mut().zip(before.lost) {
        *now = now.saturating_sub(before);
    }
    now.frames_rejected = now.frames_rejected.saturating_sub(before.frames_rejected);
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::event::StackDef;

    #[test]
    fn definitions_of_stacks_that_are_sent_again_are_dropped() {
        let stack = |stack| Event {
            pid: 1,
            body: Body::StackDef(StackDef {
                def: rscalene_wire::StackDef { stack, depth: 0, lasting: 0 },
                entries: Vec::new(),
            }),
        };
        let turns = 5 * 2 * STACK_SLOTS as u64;
        let mut definitions: Vec<Event> = (1..turns).step_by(2).map(stack).collect();
        forget_stacks(&mut definitions);
        assert_eq!(definitions.len(), 2 * STACK_SLOTS);
        let Body::StackDef(last) = &definitions[definitions.len() - 1].body else { panic!("a stack") };
        assert_eq!(last.def.stack, turns - 1);
    }
}
