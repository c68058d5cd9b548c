//! Observes the process for a sampler. Any thread of the sampler can make the observations.
//!
//! Job: look at the threads of this process, their waits and their memory, each at its own interval, and make the
//! profile at the end. Invariant: one thread at a time looks; between two looks another thread can take over. If all
//! threads of the program sleep, looks become rare. Neighbours: `pair` has the threads, `observe` looks, `intake`
//! filters the observations.

use std::time::{Duration, Instant, SystemTime};

use super::intake::Intake;
use super::subscription::Receiver;
use crate::bindings::label_listeners::{self, LabelReceiver};
use crate::lines::engine::split::Tally;
use crate::observe::jitter::Jitter;
use crate::observe::looks::Inside;
use crate::observe::proc;
use crate::observe::punctual::Looks;
use crate::observe::rank;
use crate::observe::remote::{Reader, Target};
use crate::profile::build::builder::Context;
use crate::profile::build::symbolize::Lookup;
use crate::profile::model::{self, Profile};
use crate::source;
use crate::transport::event::{Body, Event};

/// Time between two looks at waits, as in the remote reader. Also the longest time between two drains of the ring while
/// the program works.
const WAITS: Duration = Duration::from_millis(10);
/// If no thread of the program has run for [`IDLE`], looks are [`REST`] apart. Within [`REST`], a program that begins
/// to work cannot fill the ring.
const IDLE: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_millis(100);

/// Reads the lines of a file.
type Source<'a> = dyn FnMut(&str) -> Option<Vec<String>> + 'a;

/// Facts about the sampler for its profile.
pub(super) struct About {
    /// This process as a target.
    pub(super) target: Target,
    /// Start time of the sampler.
    pub(super) started: (SystemTime, u64),
    /// Notices for the report.
    pub(super) notices: Vec<model::Notice>,
    /// Counts the samples in functions marked with `@profile`, for their tables.
    pub(super) tally: Option<Tally>,
    /// The labels that the program reports.
    pub(super) labels: LabelReceiver,
}

/// A sampler's readers, and its profile so far.
pub(super) struct Looking {
    inside: Inside,
    intake: Intake,
    receiver: Option<Receiver>,
    /// The reader of waits. The first look makes the reader, so that the thread that starts the sampler need not wait
    /// for its creation.
    waits: Option<Reader>,
    about: About,
    interval: Duration,
    jitter: Jitter,
    due: Instant,
    waited_ns: u64,
    worked: Instant,
    looks: Looks,
    events: Vec<Event>,
}

impl Looking {
    /// Begins to look.
    pub(super) fn new(
        inside: Inside,
        intake: Intake,
        receiver: Option<Receiver>,
        interval: Duration,
        about: About,
    ) -> Self {
        let (now, jitter, waits) = (Instant::now(), Jitter::new(), None);
        let (looks, events) = (Looks::default(), Vec::new());
        let (due, worked) = (now, now);
        Self { inside, intake, receiver, waits, about, interval, jitter, due, waited_ns: 0, worked, looks, events }
    }

    /// Keeps the allocations of the calling thread out of the recording. Callers: the sampler's own threads.
    pub(super) fn keep_thread_out(&self) {
        if let Some(receiver) = &self.receiver {
            receiver.keep_thread_out();
        }
    }

    /// Makes the looks that are due. Returns the time until the next look.
    pub(super) fn look(&mut self) -> Duration {
        let now = Instant::now();
        if self.intake.paused() {
            self.receive();
            return REST;
        }
        if now >= self.due {
            self.looks.came(now - self.due, self.interval);
            self.due = now + self.jitter.around(self.interval);
            if let Some(&place) = label_listeners::place() {
                self.inside.follow(place);
            }
            self.inside.tick(&mut self.events);
        }
        let now_ns = proc::monotonic_ns();
        if u128::from(now_ns - self.waited_ns) >= WAITS.as_nanos() {
            match &mut self.waits {
                Some(waits) => {
                    waits.leave_out(&self.intake.samplers());
                    waits.tick(&mut self.events);
                }
                None => self.waits = Some(watch(self.about.target, &self.intake.samplers(), &mut self.events)),
            }
            self.waited_ns = now_ns;
        }
        if self.receive() || self.inside.busiest().is_some() {
            self.worked = now;
        }
        if now - self.worked >= IDLE {
            // Sleeping threads need no shorter interval than the reader's.
            self.due = now + self.interval.max(REST);
            return self.interval.max(REST);
        }
        let pause = self.due.saturating_duration_since(Instant::now());
        if self.receiver.is_some() { pause.min(WAITS) } else { pause }
    }

    /// The thread that used the most CPU time since the look before the last.
    pub(super) fn busiest(&self) -> Option<u32> {
        self.inside.busiest()
    }

    /// Begins or ends a pause. Observations during a pause are left out.
    pub(super) fn pause(&mut self, paused: bool) {
        if paused && !self.intake.paused() {
            self.inside.rest(&mut self.events);
            if let Some(waits) = self.waits.take() {
                waits.finish(&mut self.events);
            }
            self.receive();
            self.intake.pause();
        } else if !paused && self.intake.resume() {
            self.inside.skip();
            // No look was due during the pause.
            (self.worked, self.due) = (Instant::now(), Instant::now());
        }
    }

    /// Takes in the observations so far and the shim's records. Returns true if the shim recorded anything.
    fn receive(&mut self) -> bool {
        let before = self.events.len();
        if let Some(receiver) = &self.receiver {
            receiver.take(&mut self.events);
        }
        let received = self.events.len() > before;
        self.about.receive(self.intake.paused(), &mut self.events);
        let tally = &mut self.about.tally;
        self.events.iter().for_each(|event| tally.iter_mut().for_each(|tally| tally.see(event)));
        self.intake.feed(&mut self.events);
        received
    }

    /// The profile so far, with or without the text of lines; sampling goes on.
    pub(super) fn snapshot(&mut self, text: bool) -> Profile {
        self.receive();
        let mut source = |path: &str| if text { text_of(path) } else { None };
        self.intake.snapshot(self.about.context(&mut source, &mut |_, _| None))
    }

    /// Ends the looks and makes the profile.
    pub(super) fn finish(self) -> Profile {
        let Self { mut inside, mut intake, receiver, waits, mut about, looks, mut events, .. } = self;
        let target = about.target;
        drop(about.tally.take());
        let paused = intake.resume();
        if paused {
            inside.skip();
        }
        inside.finish(&mut events);
        // Even a period too short for a look needs a reading of the footprint.
        let mut waits = waits.unwrap_or_else(|| watch(target, &intake.samplers(), &mut events));
        waits.tick(&mut events);
        waits.finish(&mut events);
        if let Some(receiver) = receiver {
            receiver.finish(&mut events);
        }
        about.receive(paused, &mut events);
        let starved = looks.notice_since(Looks::default(), proc::monotonic_ns());
        events.extend(starved.map(|notice| Event { pid: target.pid, body: Body::Notice(notice) }));
        intake.feed(&mut events);
        let mut source = |path: &str| text_of(path);
        intake.finish(about.context(&mut source, &mut |_, _| None))
    }
}

impl About {
    /// Takes the label events since the last call; in a pause, only their definitions.
    fn receive(&self, paused: bool, events: &mut Vec<Event>) {
        let wanted = |body: &Body| !paused || matches!(body, Body::Label { .. });
        let pid = self.target.pid;
        events.extend(self.labels.take().into_iter().filter(wanted).map(|body| Event { pid, body }));
    }

    /// The part of a profile beside its figures.
    fn context<'a>(&self, source: &'a mut Source<'a>, lookup: &'a mut Lookup<'a>) -> Context<'a> {
        let elapsed_ns = proc::monotonic_ns().saturating_sub(self.started.1);
        Context {
            tool: model::Tool { version: env!("CARGO_PKG_VERSION").to_owned() },
            target: model::Target {
                command: proc::command_line(self.target.pid).unwrap_or_default(),
                cwd: std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
                platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
                pid: self.target.pid,
                host: rank::host(),
                rank: rank::rank(),
                ..model::Target::default()
            },
            clock: model::Clock {
                started_at: humantime::format_rfc3339_seconds(self.started.0).to_string(),
                elapsed_s: Duration::from_nanos(elapsed_ns).as_secs_f64(),
                program_s: None,
            },
            notices: self.notices.clone(),
            source,
            lookup,
        }
    }
}

fn text_of(path: &str) -> Option<Vec<String>> {
    Some(source::text(path)?.lines().map(str::to_owned).collect())
}

fn watch(target: Target, samplers: &[u32], events: &mut Vec<Event>) -> Reader {
    let mut waits = Reader::new();
    waits.leave_out(samplers);
    waits.watch(target, true, events);
    waits
}
