//! The last seconds of a running process, by line and by function.
//!
//! Job: add up CPU and waits as they are observed and drop old ones, so that a screen shows the current load. The
//! question of a reader: *which line creates the load at this moment?* Invariant: a figure is a share of the wall time
//! of the window, so that 100 % is a whole core; sums over lines are the sums over kinds. Neighbours: `commands::top`
//! shows the window.

use std::collections::{HashMap, HashSet, VecDeque};

use rscalene_interp::linetable::line_at;

use crate::transport::event::{Body, CodeDef, Event};

/// Nanoseconds of a slice of the window.
const SLICE_NS: u64 = 500_000_000;

/// Seconds by kind: python, native, system, wait, wait for the GIL.
pub type Kinds = [f64; 5];
/// Indices in [`Kinds`].
pub const WAIT: usize = 3;
const GIL: usize = 4;

/// A line of a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// File name in the code object.
    pub file: String,
    /// Function.
    pub function: String,
    /// Line; 0 for the function as a whole.
    pub line: u32,
}

/// Seconds in which a place itself ran, and CPU seconds in which the place was on the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Its own seconds, by kind.
    pub own: Kinds,
    /// CPU seconds of the place and of its callees.
    pub total_s: f64,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The line or function.
    pub place: Place,
    /// Its cost in the window.
    pub cost: Cost,
}

/// CPU and waits of a slice.
#[derive(Debug, Default)]
struct Slice {
    begin_ns: u64,
    /// Seconds by process, thread and stack.
    seconds: HashMap<(u32, u32, u64), Kinds>,
}

/// A test that is true for functions with rows.
pub type InScope<'a> = &'a dyn Fn(&CodeDef) -> bool;

/// CPU and waits of the last seconds.
#[derive(Debug)]
pub struct Window {
    codes: HashMap<(u32, u32), CodeDef>,
    stacks: HashMap<(u32, u64), Vec<(u32, u32)>>,
    slices: VecDeque<Slice>,
    names: HashMap<(u32, u32), String>,
    clocks: HashMap<(u32, u32), u64>,
    rss: HashMap<u32, u64>,
    /// Resident bytes, a point per slice.
    rss_course: VecDeque<u64>,
    length_ns: Option<u64>,
}

impl Window {
    /// A window of `length_s` seconds; `None`: all observations so far.
    #[must_use]
    pub fn new(length_s: Option<f64>) -> Self {
        Self {
            codes: HashMap::new(),
            stacks: HashMap::new(),
            slices: VecDeque::new(),
            names: HashMap::new(),
            clocks: HashMap::new(),
            rss: HashMap::new(),
            rss_course: VecDeque::new(),
            length_ns: length_s.map(|seconds| (seconds * 1e9) as u64),
        }
    }

    /// Forgets all sums.
    pub fn reset(&mut self) {
        self.slices.clear();
    }

    /// Sets another length.
    pub fn set_length(&mut self, length_s: Option<f64>) {
        self.length_ns = length_s.map(|seconds| (seconds * 1e9) as u64);
    }

    /// Takes in an event.
    pub fn feed(&mut self, event: &Event) {
        let pid = event.pid;
        match &event.body {
            Body::CodeDef(code) => drop(self.codes.insert((pid, code.def.code), code.clone())),
            Body::StackDef(stack) => {
                let entries = stack.entries.iter().map(|entry| (entry.code, entry.offset)).collect();
                self.stacks.insert((pid, stack.def.stack), entries);
            }
            Body::CpuSample { sample, .. } => {
                let kind = sample.kind.index();
                self.add(sample.time_ns, (pid, sample.tid, sample.stack), kind, sample.weight_ns);
            }
            Body::Wait(wait) if wait.wait_ns > 0 => {
                let gil_ns = wait.gil_ns.unwrap_or(0);
                self.add(wait.time_ns, (pid, wait.tid, wait.stack), WAIT, wait.wait_ns);
                self.add(wait.time_ns, (pid, wait.tid, wait.stack), GIL, gil_ns);
            }
            Body::ThreadClock(clock) => {
                if !clock.name.is_empty() {
                    self.names.insert((pid, clock.tid), clock.name.clone());
                }
                self.clocks.insert((pid, clock.tid), clock.cpu_ns);
            }
            Body::Rss { bytes, .. } => drop(self.rss.insert(pid, *bytes)),
            Body::ProcessExit(_) => drop(self.rss.remove(&pid)),
            _ => {}
        }
    }

    fn add(&mut self, time_ns: u64, key: (u32, u32, u64), kind: usize, ns: u64) {
        if self.slices.back().is_none_or(|last| time_ns >= last.begin_ns + SLICE_NS) {
            self.slices.push_back(Slice { begin_ns: time_ns, seconds: HashMap::new() });
            self.rss_course.push_back(self.rss.values().sum());
            if self.rss_course.len() > 60 {
                self.rss_course.pop_front();
            }
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.seconds.entry(key).or_default()[kind] += ns as f64 / 1e9;
        }
    }

    /// Drops slices that are older than the window.
    pub fn forget(&mut self, now_ns: u64) {
        let Some(length_ns) = self.length_ns else { return };
        while self.slices.front().is_some_and(|slice| slice.begin_ns + length_ns < now_ns) {
            self.slices.pop_front();
        }
    }

    /// Wall seconds that the window covers now.
    #[must_use]
    pub fn seconds(&self, now_ns: u64) -> f64 {
        let begin_ns = self.slices.front().map_or(now_ns, |slice| slice.begin_ns);
        (now_ns.saturating_sub(begin_ns) as f64 / 1e9).max(1e-3)
    }

    /// Seconds by kind, over all threads.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        let mut all = Kinds::default();
        self.cells().for_each(|(_, kinds)| add(&mut all, kinds));
        all
    }

    /// Threads with their seconds by kind, the busiest first. Each: process and thread id, name, seconds.
    #[must_use]
    pub fn threads(&self) -> Vec<((u32, u32), String, Kinds)> {
        let mut threads: HashMap<(u32, u32), Kinds> = self.names.keys().map(|&key| (key, Kinds::default())).collect();
        self.cells().for_each(|((pid, tid, _), kinds)| add(threads.entry((pid, tid)).or_default(), kinds));
        let name = |key: &(u32, u32)| self.names.get(key).cloned().unwrap_or_else(|| format!("Thread-{}", key.1));
        let mut rows: Vec<_> = threads.into_iter().map(|(key, kinds)| (key, name(&key), kinds)).collect();
        rows.sort_by(|(a, _, first), (b, _, second)| cpu(second).total_cmp(&cpu(first)).then(a.cmp(b)));
        rows
    }

    /// Resident bytes now, of all processes, and their course.
    pub fn resident(&self) -> (u64, impl Iterator<Item = u64> + '_) {
        (self.rss.values().sum(), self.rss_course.iter().copied())
    }

    /// The rows of lines, or with `functions` of functions. Time in code out of scope goes to the innermost line in
    /// scope on the stack.
    #[must_use]
    pub fn rows(&self, functions: bool, in_scope: InScope<'_>) -> Vec<Row> {
        let mut rows: HashMap<Place, Cost> = HashMap::new();
        let mut by_stack: HashMap<(u32, u64), Kinds> = HashMap::new();
        self.cells().for_each(|((pid, _, stack), kinds)| add(by_stack.entry((pid, stack)).or_default(), kinds));
        let mut known: HashMap<(u32, u32), bool> = HashMap::new();
        for ((pid, stack), kinds) in by_stack {
            let mut own = true;
            let mut met = HashSet::new();
            for &(code, offset) in self.stacks.get(&(pid, stack)).map_or(&[][..], Vec::as_slice) {
                let Some(def) = self.codes.get(&(pid, code)) else { continue };
                if !*known.entry((pid, code)).or_insert_with(|| in_scope(def)) {
                    continue;
                }
                let first = def.def.first_line.max(1);
                let line = if functions { 0 } else { line_at(&def.table, first, offset).unwrap_or(first) };
                let place = Place { file: def.filename.clone(), function: def.qualname.clone(), line };
                if met.insert(place.clone()) {
                    let cost = rows.entry(place).or_default();
                    cost.total_s += cpu(&kinds);
                    if own {
                        add(&mut cost.own, &kinds);
                    }
                }
                own = false;
            }
        }
        rows.into_iter().map(|(place, cost)| Row { place, cost }).collect()
    }

    fn cells(&self) -> impl Iterator<Item = ((u32, u32, u64), &Kinds)> {
        self.slices.iter().flat_map(|slice| slice.seconds.iter().map(|(&key, kinds)| (key, kinds)))
    }
}

/// CPU seconds of all kinds.
#[must_use]
pub fn cpu(kinds: &Kinds) -> f64 {
    kinds[..WAIT].iter().sum()
}

fn add(sum: &mut Kinds, more: &Kinds) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

#[cfg(test)]
mod tests {
    use rscalene_wire as wire;

    use super::*;
    use crate::transport::event::StackDef;

    fn event(body: Body) -> Event {
        Event { pid: 1, body }
    }

    fn window() -> Window {
        let mut window = Window::new(Some(2.0));
        for (number, name) in [(1, "main"), (2, "helper")] {
            let def = wire::CodeDef { code: number, first_line: number * 10, ..wire::CodeDef::default() };
            let code = CodeDef { def, filename: format!("{name}.py"), qualname: name.to_owned(), table: Vec::new() };
            window.feed(&event(Body::CodeDef(code)));
        }
        let entries = [2, 1].map(|code| wire::StackEntry { code, offset: 0 }).to_vec();
        let def = wire::StackDef { stack: 7, depth: 2, lasting: 0 };
        window.feed(&event(Body::StackDef(StackDef { def, entries })));
        window
    }

    fn sample(time_ns: u64, kind: wire::CpuKind) -> Event {
        let sample =
            wire::CpuSample { time_ns, stack: 7, tid: 1, weight_ns: 10_000_000, kind, ..wire::CpuSample::default() };
        event(Body::CpuSample { sample, flags: wire::CpuFlags::NONE })
    }

    #[test]
    fn time_out_of_scope_is_its_callers() {
        let mut window = window();
        (0..10).for_each(|_| window.feed(&sample(1, wire::CpuKind::NATIVE)));
        let all = window.rows(false, &|_| true);
        let of = |rows: &[Row], name: &str| {
            rows.iter().find(|row| row.place.function == name).map(|row| row.cost).unwrap_or_default()
        };
        assert!((of(&all, "helper").own[1] - 0.1).abs() < 1e-9);
        assert!((of(&all, "main").total_s - 0.1).abs() < 1e-9);
        assert_eq!(of(&all, "main").own, Kinds::default());
        let mine = window.rows(false, &|code| code.qualname == "main");
        assert!((of(&mine, "main").own[1] - 0.1).abs() < 1e-9);
    }

    #[test]
    fn samples_older_than_the_window_are_dropped() {
        let mut window = window();
        window.feed(&sample(1, wire::CpuKind::PYTHON));
        window.feed(&sample(5_000_000_000, wire::CpuKind::SYSTEM));
        window.forget(5_000_000_001);
        let kinds = window.kinds();
        assert!(kinds[0] == 0.0 && kinds[2] > 0.0, "{kinds:?}");
    }
}
