//! The sessions of each thread, and the effect of an event on them.
//!
//! Job: the state behind the callbacks. Invariant: a thread's state is touched by its own thread alone and never held
//! across a call into Python. Neighbours: `table` says what is profiled, `monitoring`, `tracing` and `drive` report
//! events, `outcome` goes to Python.
//!
//! A *plain* session begins and ends with the outermost activation of its function on a thread. A *driven* session
//! belongs to one generator, coroutine or async generator: [`super::drive`] puts it on the thread for each step.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;

use super::previous::Previous;
use super::table::{Table, Watched, registry};
use super::{outcome, split};
use crate::bindings::counters::{self, Source};
use crate::lines::clock;
use crate::lines::report::{Failure, Outcome};
use crate::lines::session::{Reading, Session};

/// A session, its table, and its samples.
pub(crate) struct Running {
    pub(crate) table: Arc<Table>,
    session: Session,
    base_bytes: i64,
    failure: Option<Failure>,
    /// Samples of the session.
    share: split::Share,
}

impl Running {
    fn new(table: &Arc<Table>) -> Box<Self> {
        let base_bytes = if table.source == Source::Nothing { 0 } else { counters::resident_bytes() };
        let session = Session::new(table.lines);
        Box::new(Self { table: Arc::clone(table), session, base_bytes, failure: None, share: split::Share::new() })
    }

    /// Records the name of the exception that left the function on the current line.
    pub(crate) fn fail(&mut self, exception: String) {
        let line = self.table.first_line + u32::try_from(self.session.row()).unwrap_or(0);
        self.failure = Some(Failure { exception, line });
    }
}

/// The sessions of one thread; the last is the innermost.
pub(crate) struct Thread {
    #[expect(clippy::vec_box, reason = "a driven session moves in and out at every step")]
    sessions: Vec<Box<Running>>,
    overhead_ticks: u64,
    overhead_bytes: i64,
    counters: counters::Mine,
    /// The thread's tracer before ours, on 3.11.
    pub(crate) tracer: Previous,
    /// Net bytes when `tracing::hook` returned.
    hooked_net: i64,
    /// Name of the exception last raised in watched code, on 3.11.
    pub(crate) raised: Option<String>,
}

thread_local! {
    static THREAD: UnsafeCell<Thread> = const {
        UnsafeCell::new(Thread {
            sessions: Vec::new(),
            overhead_ticks: 0,
            overhead_bytes: 0,
            counters: counters::Mine::new(),
            tracer: Previous::NONE,
            hooked_net: 0,
            raised: None,
        })
    };
}

/// Runs `work` on this thread's state. `work` must not call into Python.
#[inline(always)]
pub(crate) fn with_thread<R>(work: impl FnOnce(&mut Thread) -> R) -> Option<R> {
    // SAFETY: the state belongs to this thread, and `work` calls nothing that comes back here.
    THREAD.try_with(|thread| work(unsafe { &mut *thread.get() })).ok()
}

/// A session that has ended, on its way to Python.
pub(crate) struct Ended(Box<Running>);

/// Readings when the profiler begins to work: its own time and bytes up to [`Thread::end`] are charged to no line.
#[derive(Clone, Copy)]
pub(crate) struct Began {
    ticks: u64,
    net: i64,
    high: Option<i64>,
}

/// Runs the profiler's `work` on a line of the program: the line gets the time, and no line gets the bytes.
pub(crate) fn keep_bytes_out<R>(work: impl FnOnce() -> R) -> R {
    let began = with_thread(|thread| thread.begin(0));
    let answer = work();
    if let Some(began) = began {
        with_thread(|thread| thread.settle_bytes(began));
    }
    answer
}

impl Thread {
    #[inline(always)]
    fn reading(&mut self, source: Source, ticks: u64, scratch: Scratch) -> Reading {
        let ticks = ticks.wrapping_sub(self.overhead_ticks);
        match source {
            Source::Nothing => Reading { ticks, net: 0, high: 0 },
            Source::Exact => {
                let (net, high) = self.counters.take(ticks, scratch.bytes());
                let (net, high) = (net - self.overhead_bytes, high - self.overhead_bytes);
                if let [below @ .., _] = self.sessions.as_mut_slice() {
                    for running in below {
                        running.session.saw_high(high);
                    }
                }
                Reading { ticks, net, high }
            }
            Source::Resident => {
                let net = counters::resident_bytes();
                Reading { ticks, net, high: net }
            }
        }
    }

    /// A line of a watched code object begins. Only this event has to be fast.
    #[inline(always)]
    pub(crate) fn line(&mut self, held: Python<'_>, code: usize, line: u32, scratch: Scratch, began: u64) {
        let Some(top) = self.sessions.last() else { return };
        let at = self.sessions.len() - 1;
        if top.session.code() == code {
            let row = line.wrapping_sub(top.table.first_line) as usize;
            let source = top.table.source;
            let now = self.reading(source, began, scratch);
            if let Some(top) = self.sessions.get_mut(at) {
                top.session.line(row, now);
            }
            self.overhead_ticks += clock::ticks().wrapping_sub(began);
        } else {
            self.line_elsewhere(held, code, line, scratch, began);
        }
    }

    #[cold]
    fn line_elsewhere(&mut self, held: Python<'_>, code: usize, line: u32, scratch: Scratch, began: u64) {
        let start = self.begin(began);
        if let Some(watched) = registry(held).get(&code)
            && let Some(at) = self.position(&watched.table)
        {
            let row = watched.row(line);
            let now = self.reading(watched.table.source, began, scratch);
            if let Some(running) = self.sessions.get_mut(at) {
                let session = &mut running.session;
                if session.code() != code && !session.switch_to(code, now) {
                    session.enter(code, row, now);
                }
                session.line(row, now);
            }
        }
        self.end(start);
    }

    /// A watched code object starts or resumes.
    pub(crate) fn enter(&mut self, held: Python<'_>, code: usize, place: Place, scratch: Scratch, began: u64) {
        let Some(watched) = registry(held).get(&code) else { return };
        let mut start = self.begin(began);
        let table = &watched.table;
        let starts = matches!(place, Place::Start) && watched.top;
        let at = match self.position(table) {
            None if starts && !table.driven => {
                self.put(Running::new(table));
                Some(self.sessions.len() - 1)
            }
            found => found,
        };
        if let Some(at) = at {
            let row = match place {
                Place::Start => watched.row(watched.first_line),
                Place::Offset(offset) => watched.row_at(offset),
                Place::Line(line) => watched.row(line),
            };
            // Leave out the bytes of the new session before the reading is taken.
            self.end(start);
            start = self.begin(clock::ticks());
            let now = self.reading(table.source, start.ticks, scratch);
            if let Some(running) = self.sessions.get_mut(at) {
                running.session.calls += u64::from(starts);
                running.session.enter(code, row, now);
            }
        }
        self.end(start);
    }

    /// A watched code object returns, yields, or is left by an exception called `exception`.
    pub(crate) fn leave(
        &mut self,
        held: Python<'_>,
        code: usize,
        exception: Option<&str>,
        scratch: Scratch,
        began: u64,
    ) -> Option<Ended> {
        if self.sessions.is_empty() {
            return None;
        }
        let watched = registry(held).get(&code)?;
        let start = self.begin(began);
        let at = self.position(&watched.table)?;
        let now = self.reading(watched.table.source, began, scratch);
        let running = self.sessions.get_mut(at)?;
        if let Some(exception) = exception
            && watched.top
            && running.session.code() == code
        {
            running.fail(exception.to_owned());
        }
        let was_here = running.session.leave(code, now);
        let over = was_here && running.session.idle() && !watched.table.driven;
        if was_here && !over && exception.is_some() {
            // An outer frame caught the exception.
            running.failure = None;
        }
        let ended = over.then(|| self.take_out(at));
        self.end(start);
        if watched.begins_by_hook() {
            // The interpreter frees the frame object after this event.
            self.overhead_bytes -= watched.table.frame_bytes.load(Relaxed);
        }
        ended
    }

    /// `tracing::hook` has returned; bytes up to [`Thread::framed`] are tracing's own.
    pub(crate) fn hooked(&mut self) {
        self.hooked_net = self.counters.net();
    }

    /// Tracing has made a frame object for the hooked activation, which the function alone would not have.
    pub(crate) fn framed(&mut self, watched: &Watched) {
        let bytes = self.counters.net() - self.hooked_net;
        self.overhead_bytes += bytes;
        let known = &watched.table.frame_bytes;
        // The first trace of the process allocates more than the frame object.
        if known.load(Relaxed) == 0 || bytes < known.load(Relaxed) {
            known.store(bytes, Relaxed);
        }
    }

    /// The current line calls a function.
    pub(crate) fn call(&mut self, code: usize, began: u64) {
        let ticks = began.wrapping_sub(self.overhead_ticks);
        if let Some(top) = self.sessions.last_mut()
            && top.session.code() == code
        {
            top.session.call(ticks);
        }
        self.overhead_ticks += clock::ticks().wrapping_sub(began);
    }

    /// The called function returned.
    pub(crate) fn call_ended(&mut self, code: usize, began: u64) {
        let ticks = began.wrapping_sub(self.overhead_ticks);
        if let Some(top) = self.sessions.last_mut()
            && top.session.code() == code
        {
            top.session.call_ended(ticks);
        }
        self.overhead_ticks += clock::ticks().wrapping_sub(began);
    }

    /// A function without a table starts (`true`) or ends below the current line.
    pub(crate) fn foreign(&mut self, starts: bool, began: u64) {
        let ticks = began.wrapping_sub(self.overhead_ticks);
        if let Some(top) = self.sessions.last_mut() {
            if starts {
                top.session.foreign_enter(ticks);
            } else {
                top.session.foreign_leave(ticks);
            }
        }
        self.overhead_ticks += clock::ticks().wrapping_sub(began);
    }

    /// Puts a driven session on this thread, or joins the running session of the same table. With `starts`, the step is
    /// an activation's first. Returns whether the session was put.
    pub(crate) fn step_in(&mut self, table: &Arc<Table>, kept: &mut Option<Box<Running>>, starts: bool) -> bool {
        let start = self.begin(clock::ticks());
        let joined = kept.is_none() && self.position(table).is_some();
        if !joined {
            self.put(kept.take().unwrap_or_else(|| Running::new(table)));
        }
        if let Some(at) = self.position(table)
            && let Some(running) = self.sessions.get_mut(at)
        {
            running.session.calls += u64::from(starts);
        }
        self.end(start);
        !joined
    }

    /// Takes the driven session off this thread.
    pub(crate) fn step_out(&mut self, table: &Arc<Table>) -> Option<Box<Running>> {
        let began = clock::ticks();
        let start = self.begin(began);
        let at = self.position(table)?;
        let now = self.reading(table.source, began, Scratch::NONE);
        self.sessions.get_mut(at)?.session.pause(now);
        let running = self.take_out(at).0;
        self.end(start);
        Some(running)
    }

    /// Whether a session runs on this thread.
    pub(crate) fn busy(&self) -> bool {
        !self.sessions.is_empty()
    }

    fn position(&self, table: &Arc<Table>) -> Option<usize> {
        self.sessions.iter().rposition(|running| Arc::ptr_eq(&running.table, table))
    }

    fn put(&mut self, mut running: Box<Running>) {
        if let Some(table) = running.table.split {
            running.share.step_in(table);
        }
        if running.table.source == Source::Exact {
            self.counters.attach();
        }
        self.sessions.push(running);
    }

    fn take_out(&mut self, at: usize) -> Ended {
        let mut running = self.sessions.remove(at);
        if let Some(table) = running.table.split {
            running.share.step_out(table);
        }
        if running.table.source == Source::Exact {
            self.counters.detach();
        }
        Ended(running)
    }

    pub(crate) fn begin(&mut self, ticks: u64) -> Began {
        Began { ticks, net: self.counters.net(), high: self.counters.high() }
    }

    pub(crate) fn end(&mut self, began: Began) {
        self.overhead_ticks += clock::ticks().wrapping_sub(began.ticks);
        self.settle_bytes(began);
    }

    fn settle_bytes(&mut self, began: Began) {
        let kept = self.counters.net() - began.net;
        self.overhead_bytes += kept;
        if let Some(high) = began.high {
            // Memory that the profiler freed again is no line's peak.
            self.counters.set_high(high + kept);
        }
    }
}

/// An int that the interpreter made for an event's line or offset and frees after the callback; its bytes are no
/// line's.
#[derive(Clone, Copy)]
pub(crate) struct Scratch(bool);

impl Scratch {
    /// No int was made.
    pub(crate) const NONE: Self = Self(false);

    /// The int of an event's line or offset; ints up to 256 exist already.
    #[inline(always)]
    pub(crate) fn of(number: u32) -> Self {
        Self(number > 256)
    }

    #[inline(always)]
    fn bytes(self) -> i64 {
        if self.0 { counters::int_bytes() } else { 0 }
    }
}

/// Where a code object starts or resumes.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// At its beginning.
    Start,
    /// At a byte offset in its bytecode.
    Offset(u32),
    /// On a line.
    Line(u32),
}

impl Ended {
    /// A driven session that has ended.
    pub(crate) fn of(running: Box<Running>) -> Self {
        Self(running)
    }

    /// Passes the outcome to Python. Errors there are reported as unraisable; the time and bytes are the profiler's
    /// own.
    pub(crate) fn announce(self, py: Python<'_>) {
        let start = with_thread(|thread| thread.begin(clock::ticks()));
        // The session is freed when this returns.
        self.tell(py);
        if let Some(start) = start {
            with_thread(|thread| thread.end(start));
        }
    }

    fn tell(self, py: Python<'_>) {
        let Self(running) = self;
        let Running { table, session, base_bytes, failure, share } = *running;
        let split = table.split.and_then(|_| share.rows());
        let outcome = Outcome { failure, split, ..table.outcome(session, base_bytes) };
        let result =
            Py::new(py, outcome::LineOutcome::new(outcome)).and_then(|outcome| table.on_end.call1(py, (outcome,)));
        if let Err(error) = result {
            error.write_unraisable(py, None);
        }
    }
}
