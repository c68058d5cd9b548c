//! `rscalene run --push`: windows of the profile go to a server while the program runs.
//!
//! Job: ask the merging thread for a profile at intervals, and send its window. Invariants: the merging thread never
//! waits for the server; the last window goes out after the program has ended. Neighbours: `record` makes the profiles,
//! `push::pusher` queues and sends windows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::observe::jitter::Jitter;
use crate::profile::build::builder::{Context, ProfileBuilder};
use crate::profile::model::{Clock, Profile, Target, Tool};
use crate::push::pusher::{BEGIN, Pusher, pause};
use crate::push::server::Server;

/// Longest time between two checks of the merging thread for a request.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// The merging thread's end: the request for a profile, and the channel for the answer.
#[derive(Debug)]
pub(super) struct Requests {
    requested: Arc<AtomicBool>,
    profiles: Sender<Profile>,
    target: Target,
}

impl Requests {
    /// Answers a request, if there is one, with a profile of the builder's sums.
    pub(super) fn answer(&self, builder: &ProfileBuilder) {
        if !self.requested.swap(false, Relaxed) {
            return;
        }
        let profile = builder.snapshot(Context {
            tool: Tool { version: env!("CARGO_PKG_VERSION").to_owned() },
            target: self.target.clone(),
            clock: Clock::default(),
            notices: Vec::new(),
            source: &mut |_| None,
            lookup: &mut |_, _| None,
        });
        // The channel holds one profile, and the sending thread waits for this one.
        let _ = self.profiles.try_send(profile);
    }
}

/// The sending thread.
#[derive(Debug)]
pub(super) struct Pushing {
    thread: JoinHandle<Pusher>,
    over: Sender<()>,
}

impl Pushing {
    /// Begins to send to a server, with a pause between two windows.
    pub(super) fn start((server, every): (Server, Duration), target: Target) -> std::io::Result<(Self, Requests)> {
        let (over, is_over) = bounded(0);
        let (profiles, made) = bounded(1);
        let requested = Arc::new(AtomicBool::new(false));
        let requests = Requests { requested: Arc::clone(&requested), profiles, target };
        let pusher = Pusher::new(server);
        let thread = std::thread::Builder::new()
            .name("rscalene-push".into())
            .spawn(move || send(pusher, every, &requested, &made, &is_over))?;
        Ok((Self { thread, over }, requests))
    }

    /// Sends the last window of the whole profile. Returns the number of windows that the server never took, and the
    /// reason. Takes little longer than one call to the server may take.
    pub(super) fn finish(self, profile: &Profile) -> Option<(u64, String)> {
        let until = Instant::now() + BEGIN;
        drop(self.over);
        let mut pusher = self.thread.join().ok()?;
        pusher.take(profile.clone());
        pusher.send(until);
        pusher.give_up();
        let counts = pusher.counts();
        let dropped = counts.dropped.load(Relaxed);
        (dropped > 0).then(|| (dropped, counts.why().unwrap_or_else(|| "the server was too slow".to_owned())))
    }
}

fn send(
    mut pusher: Pusher,
    every: Duration,
    requested: &AtomicBool,
    made: &Receiver<Profile>,
    over: &Receiver<()>,
) -> Pusher {
    let mut jitter = Jitter::new();
    while over.recv_timeout(pause(every, &mut jitter)) == Err(RecvTimeoutError::Timeout) {
        requested.store(true, Relaxed);
        match made.recv_timeout(every) {
            Ok(profile) => {
                pusher.take(profile);
                pusher.send(Instant::now() + BEGIN);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return pusher,
        }
    }
    pusher
}
