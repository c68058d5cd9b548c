//! Python and native time of the lines of `@profile`, from the samples of a `Profiler` that runs meanwhile.
//!
//! Job: one sampler at a time (the first) adds its CPU samples up by thread, table and row; a session reads its thread's
//! sums when it begins and when it ends. Invariant: a sample counts for the innermost frame that lies in a table, as the
//! session's own clock does; without a sampler over the whole session there is nothing to read. Neighbours: `sampler`
//! feeds, `engine` reads, `report` prints.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rscalene_interp::linetable::line_at;
use rscalene_wire::CpuKind;

use crate::transport::event::{Body, CodeDef, Event, StackDef};

/// Nanoseconds of rows: Python's, and native.
pub(super) type Split = Vec<[u64; 2]>;

/// The sampler that feeds; 0 for none. Written under the lock, read without it to see that there is none.
static OWNER: AtomicU64 = AtomicU64::new(0);
static STATE: Mutex<State> = Mutex::new(State { tables: Vec::new(), sums: None, samplers: 0 });

struct State {
    tables: Vec<Lines>,
    /// By thread and table.
    sums: Option<HashMap<(u32, usize), Split>>,
    samplers: u64,
}

struct Lines {
    filename: String,
    first: u32,
    rows: usize,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the lines of a table known; returns its number.
pub(super) fn register(filename: &str, first: u32, rows: usize) -> usize {
    let mut state = state();
    state.tables.push(Lines { filename: filename.to_owned(), first, rows });
    state.tables.len() - 1
}

/// What a session found when it began.
pub(super) struct Before {
    owner: u64,
    tid: u32,
    sums: Split,
}

/// A session of `table` begins on this thread; `None` where no sampler runs.
pub(super) fn begin(table: usize) -> Option<Before> {
    if OWNER.load(Relaxed) == 0 {
        return None;
    }
    let state = state();
    // SAFETY: gettid takes nothing.
    let tid = unsafe { libc::gettid() } as u32;
    Some(Before { owner: OWNER.load(Relaxed), tid, sums: state.read(tid, table) })
}

/// It ends: its rows, if the same sampler still runs.
pub(super) fn end(table: usize, before: &Before) -> Option<Split> {
    let state = state();
    if OWNER.load(Relaxed) != before.owner {
        return None;
    }
    let mut now = state.read(before.tid, table);
    for (now, before) in now.iter_mut().zip(&before.sums) {
        *now = [now[0].saturating_sub(before[0]), now[1].saturating_sub(before[1])];
    }
    Some(now)
}

impl State {
    fn read(&self, tid: u32, table: usize) -> Split {
        let rows = self.tables.get(table).map_or(0, |lines| lines.rows);
        let known = self.sums.as_ref().and_then(|sums| sums.get(&(tid, table)));
        known.cloned().unwrap_or_else(|| vec![[0; 2]; rows])
    }
}

/// A sampler's side.
#[derive(Debug)]
pub(super) struct Tally {
    owner: u64,
    codes: HashMap<u32, CodeDef>,
    /// Tables and rows of the stacks that run through any.
    stacks: HashMap<u64, Vec<(usize, usize)>>,
}

impl Tally {
    /// Begins to add up; `None` where another sampler does.
    pub(super) fn claim() -> Option<Self> {
        let mut state = state();
        if OWNER.load(Relaxed) != 0 {
            return None;
        }
        state.samplers += 1;
        state.sums = Some(HashMap::new());
        OWNER.store(state.samplers, Relaxed);
        Some(Self { owner: state.samplers, codes: HashMap::new(), stacks: HashMap::new() })
    }

    /// Takes in what the sampler saw. What runs through a table was defined after the table was made known.
    pub(super) fn see(&mut self, event: &Event) {
        match &event.body {
            Body::CodeDef(code) if state().tables.iter().any(|lines| lines.filename == code.filename) => {
                self.codes.insert(code.def.code, code.clone());
            }
            Body::StackDef(stack) => self.define(stack),
            Body::CpuSample { sample, .. } => {
                let Some(rows) = self.stacks.get(&sample.stack) else { return };
                let native = usize::from(sample.kind == CpuKind::Native as u8);
                let mut state = state();
                let State { tables, sums, .. } = &mut *state;
                let Some(sums) = sums.as_mut().filter(|_| OWNER.load(Relaxed) == self.owner) else { return };
                for &(table, row) in rows {
                    let empty = || vec![[0; 2]; tables.get(table).map_or(0, |lines| lines.rows)];
                    let split = sums.entry((sample.tid, table)).or_insert_with(empty);
                    if let Some(ns) = split.get_mut(row) {
                        ns[native] += sample.weight_ns;
                    }
                }
            }
            _ => {}
        }
    }

    fn define(&mut self, stack: &StackDef) {
        if self.codes.is_empty() {
            return;
        }
        let mut found: Vec<(usize, usize)> = Vec::new();
        let state = state();
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
        let mut state = state();
        if OWNER.load(Relaxed) == self.owner {
            OWNER.store(0, Relaxed);
            state.sums = None;
        }
    }
}
