//! What of a sampler's observations its profile is made of.
//!
//! Job: leave out what happened before the sampler began, while it was paused, and in the threads of all samplers.
//! Invariant: the clock of a thread that is older than the sampler counts from the sampler's start, and stands still in a pause, so that
//! the profile's CPU time is that of the stretch alone. Neighbours: `sampler` feeds, `profile` merges.

use std::collections::HashMap;

use super::company::Member;
use crate::observe::looks::thread_cpu_ns;
use crate::observe::proc;
use crate::profile::build::builder::{Context, ProfileBuilder};
use crate::profile::model::Profile;
use crate::transport::event::{Body, Event};

/// The builder, and what is kept from it.
#[derive(Debug)]
pub(super) struct Intake {
    builder: ProfileBuilder,
    pid: u32,
    company: Member,
    footprint: bool,
    /// CPU nanoseconds of each thread that are not the stretch's.
    before: HashMap<u32, u64>,
    /// Clocks when the pause began.
    paused: Option<HashMap<u32, u64>>,
}

impl Intake {
    /// The stretch begins now. `footprint`: the course of the resident memory is wanted.
    pub(super) fn new(builder: ProfileBuilder, pid: u32, footprint: bool) -> Self {
        Self { builder, pid, company: Member::join(), footprint, before: clocks(pid), paused: None }
    }

    /// Number of the sampler among those that run.
    pub(super) fn member(&self) -> u64 {
        self.company.id()
    }

    /// The threads of all samplers.
    pub(super) fn samplers(&self) -> Vec<u32> {
        self.company.threads()
    }

    /// Nothing counts until [`Intake::resume`].
    pub(super) fn pause(&mut self) {
        self.paused.get_or_insert_with(|| clocks(self.pid));
    }

    /// Is it paused?
    pub(super) fn paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Goes on; true if there was a pause.
    pub(super) fn resume(&mut self) -> bool {
        let Some(paused) = self.paused.take() else { return false };
        for (tid, now) in clocks(self.pid) {
            *self.before.entry(tid).or_default() += now.saturating_sub(paused.get(&tid).copied().unwrap_or(0));
        }
        true
    }

    /// Takes in what was observed.
    pub(super) fn feed(&mut self, events: &mut Vec<Event>) {
        let samplers = self.samplers();
        for mut event in events.drain(..) {
            match &mut event.body {
                Body::ThreadClock(clock) if samplers.contains(&clock.tid) => continue,
                Body::Wait(wait) if samplers.contains(&wait.tid) => continue,
                Body::Rss { .. } if !self.footprint => continue,
                Body::ThreadClock(clock) => clock.cpu_ns = since(&self.before, clock.tid, clock.cpu_ns),
                Body::ThreadStart(start) => start.cpu_ns = since(&self.before, start.tid, start.cpu_ns),
                Body::ThreadEnd(end) => end.cpu_ns = since(&self.before, end.tid, end.cpu_ns),
                _ => {}
            }
            self.builder.feed(&event);
        }
    }

    /// The profile of the stretch so far.
    pub(super) fn snapshot(&self, context: Context<'_>) -> Profile {
        self.builder.snapshot(context)
    }

    /// The stretch is over.
    pub(super) fn finish(self, context: Context<'_>) -> Profile {
        self.builder.finish(context)
    }
}

fn since(before: &HashMap<u32, u64>, tid: u32, cpu_ns: u64) -> u64 {
    cpu_ns.saturating_sub(before.get(&tid).copied().unwrap_or(0))
}

fn clocks(pid: u32) -> HashMap<u32, u64> {
    proc::threads(pid).unwrap_or_default().into_iter().map(|tid| (tid, thread_cpu_ns(tid))).collect()
}
