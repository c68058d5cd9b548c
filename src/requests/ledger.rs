//! The exact lines of one request.
//!
//! Job: hits, time, own time, awaited time and bytes of each line of code in scope. Invariants: pure. A line's time
//! runs from its start to the next line of the same activation, callees included. If a line is active twice on one
//! stack (recursion), only the outer activation counts. Own time excludes callees in scope, so the own times add up to
//! the whole. Neighbours: `book` passes the events, `request` returns the rows to Python.

use rustc_hash::FxHashMap;

use crate::lines::session::Reading;

/// Figures of one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// How often the line began.
    pub(super) hits: u64,
    /// Ticks in the line, callees included.
    pub(super) ticks: u64,
    /// Ticks in the line, and in code out of scope called by the line.
    pub(super) own: u64,
    /// Ticks for which a coroutine was suspended on the line.
    pub(super) waited: u64,
    /// Bytes allocated less bytes freed, callees included.
    pub(super) net: i64,
    /// Highest net bytes while the line ran, compared with its start.
    pub(super) peak: i64,
}

impl Row {
    /// Adds another row of the same line.
    pub(super) fn add(&mut self, more: &Self) {
        self.hits += more.hits;
        self.ticks += more.ticks;
        self.own += more.own;
        self.waited += more.waited;
        self.net += more.net;
        self.peak = self.peak.max(more.peak);
    }
}

/// Lines of one code object.
#[derive(Debug)]
pub(super) struct Source<F> {
    /// The function.
    pub(super) function: F,
    /// Line number of the first row.
    pub(super) first: u32,
    /// A number for the file, the same for all functions of the file.
    pub(super) file: u64,
    /// A row for each line from `first` on.
    pub(super) rows: Vec<Row>,
}

/// An activation of a code object in scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    key: usize,
    source: u32,
    row: u32,
    began: u64,
    inner: u64,
    base: i64,
    high: i64,
    top: i64,
    /// Index of the next activation of the same code further out; [`NONE`] if there is none.
    outer: u32,
    /// The current line of the calling activation, if the caller is in the same file; otherwise 0.
    caller_line: u32,
    /// Whether the interpreter may report the current line once more.
    pub(super) told_again: bool,
}

/// A suspended coroutine or generator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspended {
    key: usize,
    source: u32,
    row: u32,
    /// When the coroutine began to wait; `None` for a generator, which yielded to its caller.
    at: Option<u64>,
}

/// How an activation stops running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// By a return or an exception.
    Ends,
    /// A generator yields a value to its caller.
    Yields,
    /// A coroutine awaits.
    Awaits,
}

const NONE: u32 = u32::MAX;
/// Most rows of one code object. No compiler makes a function with more lines.
const FARTHEST: u32 = 1 << 20;
/// Most activations searched for an outer one of the same code.
const RECURSION: usize = 64;
/// Most suspended activations that a stack remembers. The oldest go first: mostly generators never resumed.
const SUSPENDED: usize = 1024;

/// The lines of one request.
#[derive(Debug)]
pub(super) struct Ledger<F> {
    /// Code objects in the order in which they first ran.
    pub(super) sources: Vec<Source<F>>,
    places: FxHashMap<usize, u32>,
}

impl<F> Ledger<F> {
    pub(super) fn new() -> Self {
        Self { sources: Vec::new(), places: FxHashMap::default() }
    }

    /// Records the start or the resumption of a code object in scope.
    /// `make` returns the function, its first line, and a number for its file.
    pub(super) fn enter(
        &mut self,
        frames: &mut Vec<Frame>,
        key: usize,
        make: impl FnOnce() -> (F, u32, u64),
        now: Reading,
    ) {
        let sources = &mut self.sources;
        let source = *self.places.entry(key).or_insert_with(|| {
            let (function, first, file) = make();
            sources.push(Source { function, first, file, rows: Vec::new() });
            sources.len() as u32 - 1
        });
        let outer = frames.iter().rev().take(RECURSION).position(|frame| frame.key == key);
        let outer = outer.map_or(NONE, |back| (frames.len() - 1 - back) as u32);
        let caller_line = frames.last().map_or(0, |caller| self.line_in_file(caller, source));
        let (began, net) = (now.ticks, now.net);
        frames.push(Frame {
            key,
            source,
            row: NONE,
            began,
            inner: 0,
            base: net,
            high: net,
            top: net,
            outer,
            caller_line,
            told_again: false,
        });
    }

    /// The current line of `caller`, if it is in the file of `source`; otherwise 0.
    fn line_in_file(&self, caller: &Frame, source: u32) -> u32 {
        let (Some(of), Some(source)) = (self.sources.get(caller.source as usize), self.sources.get(source as usize))
        else {
            return 0;
        };
        if of.file == source.file && caller.row != NONE { of.first.wrapping_add(caller.row) } else { 0 }
    }

    /// Records the start of a line. Returns `false` if the code object has no activation on this stack: the caller must
    /// call `enter` first.
    #[inline(always)]
    pub(super) fn line(&mut self, frames: &mut Vec<Frame>, key: usize, line: u32, now: Reading) -> bool {
        if frames.last().is_none_or(|frame| frame.key != key) && !self.uncover(frames, key, now) {
            return false;
        }
        self.settle(frames, now);
        let Some(frame) = frames.last_mut() else { return false };
        let Some(source) = self.sources.get_mut(frame.source as usize) else { return true };
        let row = line.wrapping_sub(source.first);
        if row > FARTHEST {
            return true;
        }
        if source.rows.len() <= row as usize {
            source.rows.resize(row as usize + 1, Row::default());
        }
        let again = std::mem::take(&mut frame.told_again) && frame.row == row;
        if let Some(row) = source.rows.get_mut(row as usize) {
            row.hits += u64::from(!again);
        }
        frame.row = row;
        true
    }

    /// Records the end or the suspension of a code object. A code object that may resume later goes into `suspended`.
    pub(super) fn leave(
        &mut self,
        frames: &mut Vec<Frame>,
        suspended: &mut Vec<Suspended>,
        key: usize,
        how: Leaves,
        now: Reading,
    ) {
        if frames.last().is_none_or(|frame| frame.key != key) && !self.uncover(frames, key, now) {
            return;
        }
        if how != Leaves::Ends
            && let Some(frame) = frames.last()
        {
            if suspended.len() >= SUSPENDED {
                suspended.remove(0);
            }
            let at = (how == Leaves::Awaits).then_some(now.ticks);
            suspended.push(Suspended { key, source: frame.source, row: frame.row, at });
        }
        self.pop(frames, now);
    }

    /// Records the resumption of a code object. Its wait counts for the line of its suspension; this line continues
    /// without another hit.
    pub(super) fn resume(&mut self, frames: &mut [Frame], suspended: &mut Vec<Suspended>, key: usize, ticks: u64) {
        let Some(at) = suspended.iter().rposition(|entry| entry.key == key) else { return };
        let entry = suspended.remove(at);
        let source = self.sources.get_mut(entry.source as usize);
        if let Some(row) = source.and_then(|source| source.rows.get_mut(entry.row as usize)) {
            row.waited += entry.at.map_or(0, |at| ticks.saturating_sub(at));
        }
        if let Some(frame) = frames.last_mut() {
            frame.row = entry.row;
        }
    }

    /// Ends all activations. `same_thread`: they run on the thread of the reading. Otherwise their bytes since the last
    /// event are left out, because another thread's counters have these bytes.
    pub(super) fn clear(&mut self, frames: &mut Vec<Frame>, now: Reading, same_thread: bool) {
        if !same_thread {
            for frame in frames.iter_mut() {
                (frame.base, frame.high) = (now.net, now.net);
            }
        }
        while !frames.is_empty() {
            self.pop(frames, now);
        }
    }

    /// Adds the counts of another ledger, whose request ran during the current line of this ledger.
    pub(super) fn adopt(&mut self, frames: &mut [Frame], other: &Self)
    where
        F: Clone,
    {
        for (key, place) in &other.places {
            let Some(theirs) = other.sources.get(*place as usize) else { continue };
            let sources = &mut self.sources;
            let mine = *self.places.entry(*key).or_insert_with(|| {
                let (function, first, file) = (theirs.function.clone(), theirs.first, theirs.file);
                sources.push(Source { function, first, file, rows: Vec::new() });
                sources.len() as u32 - 1
            });
            let Some(mine) = self.sources.get_mut(mine as usize) else { continue };
            if mine.rows.len() < theirs.rows.len() {
                mine.rows.resize(theirs.rows.len(), Row::default());
            }
            for (row, more) in mine.rows.iter_mut().zip(&theirs.rows) {
                row.add(more);
            }
        }
        if let Some(frame) = frames.last_mut() {
            frame.inner += other.sources.iter().flat_map(|source| &source.rows).map(|row| row.own).sum::<u64>();
        }
    }

    /// Ends the activations above the innermost activation of `key`; `false` if there is none.
    #[cold]
    fn uncover(&mut self, frames: &mut Vec<Frame>, key: usize, now: Reading) -> bool {
        let Some(at) = frames.iter().rposition(|frame| frame.key == key) else { return false };
        while frames.len() > at + 1 {
            self.pop(frames, now);
        }
        true
    }

    #[inline(always)]
    fn pop(&mut self, frames: &mut Vec<Frame>, now: Reading) {
        self.settle(frames, now);
        let Some(frame) = frames.pop() else { return };
        if let Some(outer) = frames.last_mut() {
            outer.high = outer.high.max(frame.top);
        }
    }

    /// Adds the time and bytes since the last event to the current line of the innermost activation.
    #[inline(always)]
    fn settle(&mut self, frames: &mut [Frame], now: Reading) {
        let Some((frame, below)) = frames.split_last_mut() else { return };
        let took = now.ticks.saturating_sub(frame.began);
        let high = frame.high.max(now.high);
        let counted_below = frame.row != NONE && is_active(below, frame.outer, frame.row);
        if let Some(source) = self.sources.get_mut(frame.source as usize)
            && let Some(row) = source.rows.get_mut(frame.row as usize)
        {
            row.own += took.saturating_sub(frame.inner);
            // A comprehension or a lambda on the line of its caller: the caller's activation counts the line.
            let on_the_callers_line = source.first.wrapping_add(frame.row) == frame.caller_line;
            if !counted_below && !on_the_callers_line {
                row.ticks += took;
                row.net += now.net - frame.base;
            }
            row.peak = row.peak.max(high - frame.base);
        }
        if let Some(outer) = below.last_mut() {
            outer.inner += took;
        }
        frame.top = frame.top.max(high);
        (frame.began, frame.inner, frame.base, frame.high) = (now.ticks, 0, now.net, now.net);
    }
}

/// Whether an outer activation of the same code is at this row too. `outer` is the index of the nearest activation.
#[inline(always)]
fn is_active(below: &[Frame], mut outer: u32, row: u32) -> bool {
    while let Some(frame) = below.get(outer as usize) {
        if frame.row == row {
            return true;
        }
        outer = frame.outer;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: usize = 0x10;
    const G: usize = 0x20;

    fn at(ticks: u64) -> Reading {
        Reading { ticks, net: 0, high: 0 }
    }

    fn enter(ledger: &mut Ledger<usize>, frames: &mut Vec<Frame>, key: usize, now: Reading) {
        ledger.enter(frames, key, || (key, 1, key as u64), now);
    }

    fn row(ledger: &Ledger<usize>, key: usize, line: u32) -> Row {
        let source = ledger.sources.iter().find(|source| source.function == key).unwrap();
        source.rows[(line - source.first) as usize]
    }

    #[test]
    fn callees_in_scope_are_in_the_time_and_not_in_the_own_time_of_a_line() {
        let (mut ledger, mut frames, mut none) = (Ledger::new(), Vec::new(), Vec::new());
        enter(&mut ledger, &mut frames, F, at(0));
        ledger.line(&mut frames, F, 2, at(1));
        enter(&mut ledger, &mut frames, G, at(3));
        ledger.line(&mut frames, G, 5, at(4));
        ledger.leave(&mut frames, &mut none, G, Leaves::Ends, at(10));
        ledger.line(&mut frames, F, 3, at(12));
        ledger.leave(&mut frames, &mut none, F, Leaves::Ends, at(13));
        let (call, callee, after) = (row(&ledger, F, 2), row(&ledger, G, 5), row(&ledger, F, 3));
        assert_eq!((call.hits, call.ticks, call.own), (1, 11, 4));
        assert_eq!((callee.ticks, callee.own), (6, 6));
        assert_eq!((after.ticks, after.own), (1, 1));
    }

    #[test]
    fn a_recursive_line_counts_its_outermost_activation() {
        let (mut ledger, mut frames, mut none) = (Ledger::new(), Vec::new(), Vec::new());
        for depth in 0..3 {
            enter(&mut ledger, &mut frames, F, at(depth * 2));
            ledger.line(&mut frames, F, 2, at(depth * 2 + 1));
        }
        for depth in 0..3 {
            ledger.leave(&mut frames, &mut none, F, Leaves::Ends, at(10 + depth));
        }
        let line = row(&ledger, F, 2);
        assert_eq!((line.hits, line.ticks), (3, 11));
        assert!(line.own <= 12);
    }

    #[test]
    fn the_wait_of_a_coroutine_is_separate_from_its_time() {
        let (mut ledger, mut frames, mut suspended) = (Ledger::new(), Vec::new(), Vec::new());
        enter(&mut ledger, &mut frames, F, at(0));
        ledger.line(&mut frames, F, 2, at(0));
        ledger.leave(&mut frames, &mut suspended, F, Leaves::Awaits, at(5));
        enter(&mut ledger, &mut frames, F, at(105));
        ledger.resume(&mut frames, &mut suspended, F, 105);
        ledger.leave(&mut frames, &mut suspended, F, Leaves::Ends, at(107));
        let line = row(&ledger, F, 2);
        assert_eq!((line.hits, line.ticks, line.waited), (1, 7, 100));
        assert!(suspended.is_empty());
    }

    #[test]
    fn an_activation_left_by_an_unseen_exception_ends_at_its_callers_next_event() {
        let (mut ledger, mut frames) = (Ledger::new(), Vec::new());
        enter(&mut ledger, &mut frames, F, at(0));
        ledger.line(&mut frames, F, 2, at(0));
        enter(&mut ledger, &mut frames, G, at(1));
        ledger.line(&mut frames, G, 7, at(1));
        assert!(ledger.line(&mut frames, F, 3, at(4)));
        assert_eq!(frames.len(), 1);
        assert_eq!((row(&ledger, G, 7).ticks, row(&ledger, F, 2).ticks), (3, 4));
        assert!(!ledger.line(&mut frames, 0x30, 3, at(5)));
    }

    #[test]
    fn a_peak_below_a_line_is_its_own_too() {
        let (mut ledger, mut frames, mut none) = (Ledger::new(), Vec::new(), Vec::new());
        enter(&mut ledger, &mut frames, F, Reading { ticks: 0, net: 100, high: 100 });
        ledger.line(&mut frames, F, 2, Reading { ticks: 0, net: 100, high: 100 });
        enter(&mut ledger, &mut frames, G, Reading { ticks: 1, net: 110, high: 110 });
        ledger.line(&mut frames, G, 5, Reading { ticks: 1, net: 110, high: 110 });
        ledger.line(&mut frames, G, 6, Reading { ticks: 2, net: 120, high: 5_110 });
        ledger.leave(&mut frames, &mut none, G, Leaves::Ends, Reading { ticks: 3, net: 120, high: 120 });
        ledger.leave(&mut frames, &mut none, F, Leaves::Ends, Reading { ticks: 4, net: 101, high: 121 });
        assert_eq!((row(&ledger, F, 2).net, row(&ledger, F, 2).peak), (1, 5_010));
        assert_eq!((row(&ledger, G, 5).net, row(&ledger, G, 5).peak), (10, 5_000));
    }
}
