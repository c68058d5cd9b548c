//! Python, native and system time of the lines of `@profile`, from the samples of a `Profiler` that runs meanwhile.
//!
//! Job: one sampler at a time (the first) adds its CPU samples up by thread, table and row; a session reads its
//! thread's sums when it comes to the thread and when it leaves it (a driven one does at every step, and takes what
//! came late along at the next one). Invariant: a sample counts for the innermost frame that lies in a table, as the
//! session's own clock does; without a sampler over the whole session there is nothing to read. Neighbours: `sampler`
//! feeds, `threads` reads, `report` prints.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rscalene_interp::linetable::line_at;
use rscalene_wire::CpuKind;

use crate::bindings::fork_lock::ForkLock;
use crate::transport::event::{Body, CodeDef, Event, StackDef};

/// What was sampled of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Sampled {
    /// Nanoseconds of samples in Python, and in native code.
    ns: [u64; 2],
    /// Nanoseconds of the scheduler's ticks on either: those that met the user's code, and the kernel.
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

/// The sampler that feeds; 0 for none. Written under the lock, read without it to see that there is none.
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

/// `None` in a forked child that can never have it.
fn state() -> Option<MutexGuard<'static, State>> {
    let (mut state, fresh) = STATE.take()?;
    if fresh && state.sums.take().is_some() {
        // The parent's sampler.
        OWNER.store(0, Relaxed);
    }
    Some(state)
}

/// Makes the lines of a table known; returns its number.
pub(crate) fn register(filename: &str, first: u32, rows: usize) -> Option<usize> {
    let mut state = state()?;
    state.tables.push(Lines { filename: filename.to_owned(), first, rows });
    Some(state.tables.len() - 1)
}

/// What is sampled of a session.
pub(crate) struct Share {
    /// Its number; 0 before its first step.
    id: u64,
    /// The sampler that ran when it began, and at every step so far; 0 for none.
    owner: u64,
    /// On this thread since then.
    step: Option<(u32, Vec<Sampled>)>,
    /// What there was on a thread when it left it.
    left: Option<(u32, Vec<Sampled>)>,
    rows: Vec<Sampled>,
}

impl Share {
    /// A session begins.
    pub(crate) fn new() -> Self {
        Self { id: 0, owner: OWNER.load(Relaxed), step: None, left: None, rows: Vec::new() }
    }

    /// It comes to this thread.
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
        // What was added up since it left this thread is late news of its step, unless another has been here.
        let last = state.left.as_ref().and_then(|left| left.get(&(tid, table))) == Some(&self.id);
        let since = self.left.take().filter(|(of, _)| last && *of == tid);
        self.step = since.or_else(|| Some((tid, state.read(tid, table))));
    }

    /// It leaves it.
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

    /// It has ended: its rows, if one sampler ran all the time. The kernel's part is that of the row's ticks, or of all
    /// of the session's where a row has none.
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

/// A sampler's side.
#[derive(Debug)]
pub(crate) struct Tally {
    owner: u64,
    codes: HashMap<u32, CodeDef>,
    /// Tables and rows of the stacks that run through any.
    stacks: HashMap<u64, Vec<(usize, usize)>>,
}

impl Tally {
    /// Begins to add up; `None` where another sampler does.
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

    /// Takes in what the sampler saw. What runs through a table was defined after the table was made known.
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
                // Leaf first: the innermost frame of a table is the one that counts.
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
