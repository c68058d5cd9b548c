//! One call of a profiled function, from its first event to its last: a row for each line, and the current row.
//!
//! Job: charge the ticks and bytes between two events to the current row. Invariant: between [`Session::resume`] and
//! [`Session::pause`] every tick and every byte goes to exactly one row, so the increments sum to the net, in
//! recursion, in generators and after exceptions too. Neighbours: `engine::threads` brings the readings, `report`
//! prints the rows.
//!
//! An activation that starts inside another of the same table (recursion, a comprehension, an inner function) becomes
//! current until it ends: its time and bytes stand on its own rows and nowhere else.

use serde::{Deserialize, Serialize};

/// Readings of the clock and the counters of the running thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Ticks, less the profiler's own.
    pub ticks: u64,
    /// Bytes allocated less bytes freed by this thread (or resident bytes), less the profiler's own.
    pub net: i64,
    /// Highest `net` since the reading before.
    pub high: i64,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// How often the line was begun.
    pub hits: u64,
    /// Ticks on the line, callees included, inner activations of the same table excluded.
    pub ticks: u64,
    /// The part of `ticks` spent in functions that the line called.
    pub callee_ticks: u64,
    /// Bytes allocated less bytes freed.
    pub increment: i64,
    /// Highest net of the session when the line ended; [`Row::NEVER`] for a line that never ended.
    pub usage: i64,
    /// Highest transient above the net at which the line began.
    pub peak: i64,
}

impl Row {
    /// [`Row::usage`] of a line that never ran.
    pub const NEVER: i64 = i64::MIN;
    /// A line that never ran.
    pub const EMPTY: Self = Self { hits: 0, ticks: 0, callee_ticks: 0, increment: 0, usage: Self::NEVER, peak: 0 };

    /// Whether the line ran at all.
    #[must_use]
    pub fn ran(&self) -> bool {
        self.usage != Self::NEVER
    }

    /// Adds another session's row of the same line, whose net started `offset` bytes above ours.
    pub fn merge(&mut self, other: &Self, offset: i64) {
        self.hits += other.hits;
        self.ticks += other.ticks;
        self.callee_ticks += other.callee_ticks;
        self.increment += other.increment;
        self.peak = self.peak.max(other.peak);
        if other.ran() {
            self.usage = self.usage.max(other.usage + offset);
        }
    }
}

/// A code object that is running in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Activation {
    code: usize,
    row: usize,
    base: i64,
    depth: u32,
}

/// The rows of one call, and the current row.
#[derive(Clone, Debug)]
pub struct Session {
    /// A row for each line, the function's first line first.
    pub rows: Vec<Row>,
    /// How often the function itself was entered.
    pub calls: u64,
    activations: Vec<Activation>,
    code: usize,
    row: usize,
    /// `last.net` when the current line began.
    base: i64,
    last: Reading,
    net: i64,
    call_began: Option<u64>,
    /// Open calls of functions of other tables, below the current code.
    depth: u32,
}

/// `code` while nothing runs; no object lives at this address.
const NOTHING: usize = 0;

impl Session {
    /// A session of a function with `lines` lines; nothing runs yet.
    #[must_use]
    pub fn new(lines: usize) -> Self {
        Self {
            rows: vec![Row::EMPTY; lines],
            calls: 0,
            activations: Vec::new(),
            code: NOTHING,
            row: 0,
            base: 0,
            last: Reading::default(),
            net: 0,
            call_began: None,
            depth: 0,
        }
    }

    /// The current code object; 0 for none.
    #[inline(always)]
    #[must_use]
    pub fn code(&self) -> usize {
        self.code
    }

    /// The current row.
    #[must_use]
    pub fn row(&self) -> usize {
        self.row
    }

    /// Whether no activation runs in the session.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.code == NOTHING
    }

    /// Net bytes since the session began, at the last event.
    #[must_use]
    pub fn net(&self) -> i64 {
        self.net
    }

    /// Makes `row` current: the current code begins another line.
    #[inline(always)]
    pub fn line(&mut self, row: usize, now: Reading) {
        self.charge(now);
        if let Some(next) = self.rows.get_mut(row) {
            next.hits += 1;
            self.row = row;
            self.base = now.net;
        }
    }

    /// Makes `code` current: a code object starts or resumes at `row`.
    pub fn enter(&mut self, code: usize, row: usize, now: Reading) {
        if self.code == NOTHING {
            self.last = now;
        } else {
            self.charge(now);
            self.activations.push(self.current());
        }
        self.code = code;
        self.row = row.min(self.rows.len().saturating_sub(1));
        self.base = now.net;
        self.depth = 0;
    }

    /// Ends an activation of `code`, which returned, yielded or raised, and all activations entered after it. Returns
    /// whether `code` was running in the session.
    pub fn leave(&mut self, code: usize, now: Reading) -> bool {
        if self.code != code && !self.activations.iter().any(|activation| activation.code == code) {
            return false;
        }
        self.charge(now);
        while self.code != code {
            self.pop();
        }
        self.pop();
        true
    }

    /// Makes the activation of `code` current, for a line event of code that is not current. False if the session has
    /// no such activation.
    pub fn switch_to(&mut self, code: usize, now: Reading) -> bool {
        let Some(at) = self.activations.iter().rposition(|activation| activation.code == code) else {
            return false;
        };
        self.charge(now);
        let found = self.activations.remove(at);
        self.activations.push(self.current());
        self.restore(found);
        true
    }

    /// Ends all activations, for example when a generator is suspended: until the next event nothing is charged.
    pub fn pause(&mut self, now: Reading) {
        if self.code != NOTHING {
            self.charge(now);
            self.activations.clear();
            self.code = NOTHING;
        }
    }

    /// The current line calls a function at `ticks`. Time counts as the callee's until [`Session::call_ended`] or the
    /// next event.
    #[inline]
    pub fn call(&mut self, ticks: u64) {
        self.call_ended(ticks);
        self.call_began = Some(ticks);
    }

    /// The called function returned at `ticks`.
    #[inline]
    pub fn call_ended(&mut self, ticks: u64) {
        if let Some(began) = self.call_began.take()
            && let Some(row) = self.rows.get_mut(self.row)
        {
            row.callee_ticks += ticks.wrapping_sub(began);
        }
    }

    /// A function of another table starts; only the outermost of nested ones counts as the callee.
    #[inline]
    pub fn foreign_enter(&mut self, ticks: u64) {
        self.depth += 1;
        if self.depth == 1 {
            self.call(ticks);
        }
    }

    /// A function of another table ends.
    #[inline]
    pub fn foreign_leave(&mut self, ticks: u64) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.call_ended(ticks);
        }
    }

    /// Adds ticks of another table's session to the callee time of the current line.
    pub fn add_callee(&mut self, ticks: u64) {
        if self.code != NOTHING
            && self.call_began.is_none()
            && let Some(row) = self.rows.get_mut(self.row)
        {
            row.callee_ticks += ticks;
        }
    }

    /// Takes over a peak that an inner session saw, before the high-water mark is reset.
    #[inline]
    pub fn saw_high(&mut self, high: i64) {
        if let Some(row) = self.rows.get_mut(self.row)
            && self.code != NOTHING
        {
            row.peak = row.peak.max(high - self.base);
        }
    }

    fn current(&self) -> Activation {
        Activation { code: self.code, row: self.row, base: self.base, depth: self.depth }
    }

    fn restore(&mut self, to: Activation) {
        Activation { code: self.code, row: self.row, base: self.base, depth: self.depth } = to;
    }

    fn pop(&mut self) {
        match self.activations.pop() {
            Some(outer) => self.restore(outer),
            None => self.code = NOTHING,
        }
    }

    #[inline(always)]
    fn charge(&mut self, now: Reading) {
        let Some(row) = self.rows.get_mut(self.row) else { return };
        row.ticks += now.ticks.wrapping_sub(self.last.ticks);
        if let Some(began) = self.call_began.take() {
            row.callee_ticks += now.ticks.wrapping_sub(began);
        }
        let change = now.net - self.last.net;
        row.increment += change;
        row.peak = row.peak.max(now.high - self.base);
        self.net += change;
        row.usage = row.usage.max(self.net);
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: usize = 0x1000;
    const G: usize = 0x2000;

    fn at(ticks: u64, net: i64) -> Reading {
        Reading { ticks, net, high: net }
    }

    fn sums(session: &Session) -> (u64, i64) {
        (session.rows.iter().map(|row| row.ticks).sum(), session.rows.iter().map(|row| row.increment).sum())
    }

    #[test]
    fn time_between_two_lines_belongs_to_the_first() {
        let mut session = Session::new(4);
        session.enter(F, 0, at(10, 100));
        session.line(1, at(11, 100));
        session.line(2, at(18, 147));
        assert!(session.leave(F, at(20, 130)));
        assert_eq!((session.rows[1].ticks, session.rows[1].increment), (7, 47));
        assert_eq!((session.rows[2].ticks, session.rows[2].increment), (2, -17));
        assert!(session.idle());
        assert_eq!(sums(&session), (10, 30));
    }

    #[test]
    fn an_inner_activation_keeps_its_own_bytes_and_the_rows_still_sum_to_the_net() {
        let mut session = Session::new(3);
        session.enter(F, 0, at(0, 0));
        session.line(1, at(1, 5));
        session.enter(F, 0, at(2, 7));
        session.line(2, at(3, 7));
        session.leave(F, at(9, 107));
        session.line(2, at(10, 108));
        session.leave(F, at(12, 108));
        assert_eq!(session.rows[1].increment, 3);
        assert_eq!(session.rows[2].increment, 100);
        assert_eq!(sums(&session), (12, 108));
        assert_eq!(session.net(), 108);
    }

    #[test]
    fn a_paused_session_is_charged_nothing() {
        let mut session = Session::new(3);
        session.enter(F, 0, at(0, 0));
        session.line(1, at(1, 0));
        session.pause(at(2, 11));
        session.enter(F, 1, at(1_000, 9_000));
        session.leave(F, at(1_003, 9_002));
        assert_eq!(sums(&session), (5, 13));
    }

    #[test]
    fn a_return_also_ends_the_calls_without_a_return_event() {
        let mut session = Session::new(3);
        session.enter(F, 0, at(0, 0));
        session.enter(G, 1, at(1, 0));
        assert!(session.leave(F, at(4, 0)));
        assert!(session.idle());
        assert!(!session.leave(F, at(5, 0)));
    }

    #[test]
    fn a_line_event_of_an_outer_activation_closes_the_inner_activations() {
        let mut session = Session::new(3);
        session.enter(F, 0, at(0, 0));
        session.enter(G, 1, at(1, 0));
        assert!(session.switch_to(F, at(3, 0)));
        session.line(2, at(3, 0));
        session.leave(F, at(10, 0));
        assert_eq!(session.rows[1].ticks, 2);
        assert_eq!(session.rows[2].ticks, 7);
    }

    #[test]
    fn a_peak_is_measured_from_where_the_line_began() {
        let mut session = Session::new(2);
        session.enter(F, 0, at(0, 1_000));
        session.line(1, at(1, 1_010));
        session.leave(F, Reading { ticks: 2, net: 1_020, high: 5_010 });
        assert_eq!(session.rows[1].peak, 4_000);
        assert_eq!(session.rows[1].increment, 10);
    }

    #[test]
    fn a_call_is_callee_time_until_the_next_event() {
        let mut session = Session::new(3);
        session.enter(F, 0, at(0, 0));
        session.line(1, at(0, 0));
        session.call(3);
        session.line(2, at(50, 0));
        session.leave(F, at(60, 0));
        assert_eq!((session.rows[1].ticks, session.rows[1].callee_ticks), (50, 47));
        assert_eq!(session.rows[2].callee_ticks, 0);
    }

    #[test]
    fn lines_outside_of_the_table_are_charged_to_the_row_before() {
        let mut session = Session::new(2);
        session.enter(F, 0, at(0, 0));
        session.line(99, at(1, 0));
        session.leave(F, at(3, 4));
        assert_eq!(sums(&session), (3, 4));
    }
}
