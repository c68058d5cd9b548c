//! Python, native and system time of the lines of `@profile`, from the samples of a `Profiler` that runs meanwhile.
//!
//! Job: one sampler at a time (the first) adds its CPU samples up by thread, table and row. A session reads its
//! thread's sums when the session starts on the thread and when it leaves the thread. A driven session does so at every
//! step, and adds samples that came late at the next step. Invariants: a sample counts for the innermost frame in a
//! table, as the session's own clock does; a session has sums only if one sampler ran during the whole session.
//! Neighbours: `sampler` adds samples, `threads` reads, `report` prints.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rscalene_interp::linetable::line_at;
use rscalene_wire::CpuKind;

use crate::bindings::fork_lock::ForkLock;
use crate::transport::event::{Body, CodeDef, Event, StackDef};

/// Sums of samples of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Sampled {
    /// Nanoseconds of samples in Python, and in native code.
    ns: [u64; 2],
    /// Nanoseconds of the scheduler's ticks on both: ticks in user code, and ticks in the kernel.
    ticks: [[u64; 2]; 2],
}

impl Sampled {
    fn change(&mut self, by: &Self, change: fn(u64, u64) -> u64) {
        for kind in 0..2 {
            self.ns[kind] = change(self.ns[kind], by.ns[kind]);
            for (mine, theirs) in self.ticks[kind].iter_mut().zip(by.ticks[kind]) {
                *mine = change(*mine, theirs);
            }
        }
    }

    /// The kernel's part of the samples of a kind; `None` without ticks.
    fn kernel(&self, kind: usize) -> Option<f64> {
        let [user, kernel] = self.ticks[kind].map(|ns| ns as f64);
        (user + kernel > 0.0).then(|| kernel / (user + kernel))
    }
}

/// Nanoseconds of a row: Python's, native, and the kernel's.
type Row = [u64; 3];

/// Number of the sampler that adds samples; 0 for none. Written under the lock; readers without the lock only check for
/// 0.
static OWNER: AtomicU64 = AtomicU64::new(0);
static STATE: ForkLock<State> =
    ForkLock::new(State { tables: Vec::new(), sums: None, left: None, sessions: 0, samplers: 0 });

struct State {
    tables: Vec<Lines>,
    /// By thread and table.
    sums: Option<HashMap<(u32, usize), Vec<Sampled>>>,
    /// The session that left a thread last, by thread and table.
    left: Option<HashMap<(u32, usize), u64>>,
    sessions: u64,
    samplers: u64,
}

struct Lines {
    filename: String,
    first: u32,
    rows: usize,
}

/// The sums; `None` in a forked child whose parent held the lock at the fork.
fn state() -> Option<MutexGuard<'static, State>> {
    let (mut state, fresh) = STATE.take()?;
    if fresh && state.sums.take().is_some() {
        // In a forked child, forget the parent's sampler.
        OWNER.store(0, Relaxed);
    }
    Some(state)
}

/// Registers the lines of a table; returns the table's number.
pub(crate) fn register(filename: &str, first: u32, rows: usize) -> Option<usize> {
    let mut state = state()?;
    state.tables.push(Lines { filename: filename.to_owned(), first, rows });
    Some(state.tables.len() - 1)
}

/// Samples of a session.
pub(crate) struct Share {
    /// Number of the session; 0 before its first step.
    id: u64,
    /// The sampler that ran when the session began and at every step so far; 0 for none.
    owner: u64,
    /// Sums of this thread when the current step began.
    step: Option<(u32, Vec<Sampled>)>,
    /// Sums of each thread when the session left the thread.
    left: Option<(u32, Vec<Sampled>)>,
    rows: Vec<Sampled>,
}

impl Share {
    /// Samples of a session that begins.
    pub(crate) fn new() -> Self {
        Self { id: 0, owner: OWNER.load(Relaxed), step: None, left: None, rows: Vec::new() }
    }

    /// The session starts on this thread.
    pub(crate) fn step_in(&mut self, table: usize) {
        if self.owner == 0 {
            return;
        }
        let Some(mut state) = state() else { return };
        if self.id == 0 {
            state.sessions += 1;
            self.id = state.sessions;
        }
        // SAFETY: gettid takes nothing.
        let tid = unsafe { libc::gettid() } as u32;
        // Samples added since the session left this thread belong to its last step, unless another session ran since.
        let last = state.left.as_ref().and_then(|left| left.get(&(tid, table))) == Some(&self.id);
        let since = self.left.take().filter(|(of, _)| last && *of == tid);
        self.step = since.or_else(|| Some((tid, state.read(tid, table))));
    }

    /// The session leaves this thread.
    pub(crate) fn step_out(&mut self, table: usize) {
        let Some((tid, before)) = self.step.take() else { return };
        let Some(mut state) = state() else { return self.owner = 0 };
        if OWNER.load(Relaxed) != self.owner {
            self.owner = 0;
            return;
        }
        let mut passed = state.read(tid, table);
        state.left.get_or_insert_with(HashMap::new).insert((tid, table), self.id);
        self.left = Some((tid, passed.clone()));
        for (passed, before) in passed.iter_mut().zip(&before) {
            passed.change(before, u64::saturating_sub);
        }
        self.rows.resize(passed.len(), Sampled::default());
        for (row, passed) in self.rows.iter_mut().zip(&passed) {
            row.change(passed, u64::saturating_add);
        }
    }

    /// The rows of a session that has ended, if one sampler ran all the time. The kernel's part of a row comes from the
    /// row's ticks, or from all ticks of the session if the row has none.
    pub(crate) fn rows(&self) -> Option<Vec<Row>> {
        if self.owner == 0 {
            return None;
        }
        let mut all = Sampled::default();
        self.rows.iter().for_each(|row| all.change(row, u64::saturating_add));
        let divided = |row: &Sampled| {
            let mut ns = [row.ns[0], row.ns[1], 0];
            for kind in 0..2 {
                let part = row.kernel(kind).or_else(|| all.kernel(kind)).unwrap_or(0.0);
                let kernel = (row.ns[kind] as f64 * part).round() as u64;
                ns[kind] -= kernel.min(ns[kind]);
                ns[2] += kernel;
            }
            ns
        };
        Some(self.rows.iter().map(divided).collect())
    }
}

impl State {
    fn read(&self, tid: u32, table: usize) -> Vec<Sampled> {
        let rows = self.tables.get(table).map_or(0, |lines| lines.rows);
        let known = self.sums.as_ref().and_then(|sums| sums.get(&(tid, table)));
        known.cloned().unwrap_or_else(|| vec![Sampled::default(); rows])
    }
}

/// Adds up the samples of a sampler.
#[derive(Debug)]
pub(crate) struct Tally {
    owner: u64,
    codes: HashMap<u32, CodeDef>,
    /// Table and row of each stack with a frame in a table.
    stacks: HashMap<u64, Vec<(usize, usize)>>,
}

impl Tally {
    /// Begins to add up; `None` if another sampler does already.
    pub(crate) fn claim() -> Option<Self> {
        let mut state = state()?;
        if OWNER.load(Relaxed) != 0 {
            return None;
        }
        state.samplers += 1;
        state.sums = Some(HashMap::new());
        OWNER.store(state.samplers, Relaxed);
        Some(Self { owner: state.samplers, codes: HashMap::new(), stacks: HashMap::new() })
    }

    /// Adds an event of the sampler. Definitions of stacks with a frame in a table come after the table's registration.
    pub(crate) fn see(&mut self, event: &Event) {
        match &event.body {
            Body::CodeDef(code)
                if state().is_some_and(|state| state.tables.iter().any(|lines| lines.filename == code.filename)) =>
            {
                self.codes.insert(code.def.code, code.clone());
            }
            Body::StackDef(stack) => self.define(stack),
            Body::CpuSample { sample, .. } => {
                let mut seen = Sampled::default();
                seen.ns[usize::from(sample.kind == CpuKind::NATIVE)] = sample.weight_ns;
                self.add(sample.tid, sample.stack, &seen);
            }
            Body::Ticks(ticks) => {
                let mut seen = Sampled::default();
                seen.ticks[usize::from(ticks.kind == CpuKind::NATIVE)] = [ticks.user_ns, ticks.kernel_ns];
                self.add(ticks.tid, ticks.stack, &seen);
            }
            _ => {}
        }
    }

    fn add(&self, tid: u32, stack: u64, seen: &Sampled) {
        let Some(rows) = self.stacks.get(&stack) else { return };
        let Some(mut state) = state() else { return };
        let State { tables, sums, .. } = &mut *state;
        let Some(sums) = sums.as_mut().filter(|_| OWNER.load(Relaxed) == self.owner) else { return };
        for &(table, row) in rows {
            let empty = || vec![Sampled::default(); tables.get(table).map_or(0, |lines| lines.rows)];
            if let Some(row) = sums.entry((tid, table)).or_insert_with(empty).get_mut(row) {
                row.change(seen, u64::saturating_add);
            }
        }
    }

    fn define(&mut self, stack: &StackDef) {
        if self.codes.is_empty() {
            return;
        }
        let mut found: Vec<(usize, usize)> = Vec::new();
        let Some(state) = state() else { return };
        for entry in &stack.entries {
            let Some(code) = self.codes.get(&entry.code) else { continue };
            let first = code.def.first_line;
            let line = line_at(&code.table, first, entry.offset).unwrap_or(first);
            for (table, lines) in state.tables.iter().enumerate() {
                let row = line.wrapping_sub(lines.first) as usize;
                // Frames come leaf first: the innermost frame in a table counts.
                if row < lines.rows && lines.filename == code.filename && found.iter().all(|(known, _)| *known != table)
                {
                    found.push((table, row));
                }
            }
        }
        if !found.is_empty() {
            self.stacks.insert(stack.def.stack, found);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Some(mut state) = state() else { return };
        if OWNER.load(Relaxed) == self.owner {
            OWNER.store(0, Relaxed);
            state.sums = None;
            state.left = None;
        }
    }
}
