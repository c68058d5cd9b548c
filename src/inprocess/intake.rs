//! Filters a sampler's observations for its profile.
//!
//! Job: leave out observations from before the sampler began, from pauses, and from the threads of all samplers.
//! Invariant: the profile has only CPU time of the sampled period. For threads older than the sampler, CPU time counts
//! from the sampler's start; during a pause no CPU time counts. Neighbours: `sampler` feeds events, `profile` merges.

use std::collections::HashMap;

use super::other_samplers::Member;
use crate::observe::looks::thread_cpu_ns;
use crate::observe::proc;
use crate::profile::build::builder::{Context, ProfileBuilder};
use crate::profile::model::Profile;
use crate::transport::event::{Body, Event};

/// The builder, and the facts for leaving out observations.
#[derive(Debug)]
pub(super) struct Intake {
    builder: ProfileBuilder,
    pid: u32,
    membership: Member,
    footprint: bool,
    /// CPU nanoseconds that each thread used outside of the sampled period.
    before: HashMap<u32, u64>,
    /// The threads' clocks when the pause began; `None`: not paused.
    paused: Option<HashMap<u32, u64>>,
}

impl Intake {
    /// Begins the sampled period now. `footprint`: the profile shows the resident memory over time.
    pub(super) fn new(builder: ProfileBuilder, pid: u32, footprint: bool) -> Self {
        Self { builder, pid, membership: Member::join(), footprint, before: clocks(pid), paused: None }
    }

    /// Number of the sampler among the running samplers.
    pub(super) fn member(&self) -> u64 {
        self.membership.id()
    }

    /// The threads of all samplers, for the readers to leave out.
    pub(super) fn samplers(&self) -> Vec<u32> {
        self.membership.threads()
    }

    /// Begins a pause. Observations until [`Intake::resume`] do not count.
    pub(super) fn pause(&mut self) {
        self.paused.get_or_insert_with(|| clocks(self.pid));
    }

    /// True while paused.
    pub(super) fn paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Ends the pause; true if there was one.
    pub(super) fn resume(&mut self) -> bool {
        let Some(paused) = self.paused.take() else { return false };
        for (tid, now) in clocks(self.pid) {
            *self.before.entry(tid).or_default() += now.saturating_sub(paused.get(&tid).copied().unwrap_or(0));
        }
        true
    }

    /// Takes in observations.
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

    /// The profile of the sampled period so far.
    pub(super) fn snapshot(&self, context: Context<'_>) -> Profile {
        self.builder.snapshot(context)
    }

    /// Ends the sampled period.
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
