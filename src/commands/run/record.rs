//! Record a program that has been started.
//!
//! Job: run the threads that drain the arena, watch from outside and receive events, until the program has ended (or
//! `--duration` is over). Invariant: the program is reaped after the last observation of its processes, and a failure
//! here never ends it. Neighbours: `super` starts the program, `outcome` makes a profile of the recording.

use std::collections::HashMap;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::pushing::{self, Requests};
use crate::cli::error::{EXIT_NO_PROFILE, Error};
use crate::launch::file_sources::FileSources;
use crate::launch::folders::Folders;
use crate::launch::keep::Keep;
use crate::launch::not_preloaded::{self, NotPreloaded};
use crate::launch::spawn::{self, Ended};
use crate::observe::proc;
use crate::observe::remote::{GeneratedTexts, Remote, Target};
use crate::profile::build::builder::ProfileBuilder;
use crate::profile::model::{Notice, codes};
use crate::transport::arena::Arena;
use crate::transport::drain::Drain;
use crate::transport::event::{Batch, Body, Event, ProcessExit};

/// Batches of events on their way to the builder: enough for a burst, little enough for memory.
const BATCHES: usize = 256;

/// Collects until the child has ended (or, after `duration`, no more).
pub(super) fn record(
    arena: &Arc<Arena>,
    child: &Child,
    duration: Option<Duration>,
    taking: Taking,
) -> Result<Recorded, Error> {
    let (to_merge, events) = bounded::<Batch>(BATCHES);
    let (taken_in, spare) = bounded::<Batch>(BATCHES);
    let merging = std::thread::Builder::new()
        .name("rscalene-merge".into())
        .spawn(move || consume(taking, &events, &taken_in))
        .map_err(|error| no_thread(&error))?;
    let remote = Arc::new(Remote::start(to_merge.clone()).map_err(|error| no_thread(&error))?);
    let armed = Arc::new(AtomicBool::new(false));
    let drain = Drain::start(Arc::clone(arena), to_merge.clone(), spare, proc::command_line, {
        let (remote, armed) = (Arc::clone(&remote), Arc::clone(&armed));
        move |pid, start| {
            armed.store(true, Ordering::Relaxed);
            remote.watch(Target::armed(pid, start));
        }
    })
    .map_err(|error| no_thread(&error))?;
    let (leave, left) = bounded::<()>(0);
    if let Some(duration) = duration {
        let (arena, remote, to_merge, pid) = (Arc::clone(arena), Arc::clone(&remote), to_merge.clone(), child.id());
        // Ends with the run, at the latest: the channel is dropped then.
        std::thread::spawn(move || {
            if left.recv_timeout(duration) == Err(RecvTimeoutError::Timeout) {
                arena.stop();
                // The clocks as they stand: nothing that the program does from now on is read.
                remote.stop();
                let _ = to_merge.send(vec![Event { pid, body: Body::Cut { time_ns: proc::monotonic_ns() } }]);
            }
        });
    }
    let (over, is_over) = bounded::<()>(0);
    let pid = child.id();
    let looking = std::thread::Builder::new()
        .name("rscalene-not_preloaded".into())
        .spawn(move || look_for_unseen(pid, &armed, &is_over))
        .map_err(|error| no_thread(&error))?;
    let mut inodes = HashMap::new();
    let mut ended_ns = 0;
    let ended = spawn::wait(child, || {
        ended_ns = proc::monotonic_ns();
        drain.finish();
        inodes = remote.stop();
    })
    .map_err(|error| cannot_wait(&error))?;
    drop((leave, over));
    let not_preloaded = looking.join().ok().flatten();
    // What outlives the program is watched no longer, and its shims need not go on.
    arena.stop();
    let exit = ProcessExit { time_ns: ended_ns, code: ended.code, signal: ended.signal, peak_rss: None, cpu_ns: None };
    let _ = to_merge.send(vec![Event { pid: child.id(), body: Body::ProcessExit(exit) }]);
    drop(to_merge);
    let taken = merging.join().map_err(|_| {
        Error::new(EXIT_NO_PROFILE, "internal error in the merge", "please report it, with the command line")
    })?;
    Ok(Recorded { taken, ended, ended_ns, inodes, not_preloaded })
}

/// Receives the events of a run.
pub(super) struct Taking {
    pub(super) builder: ProfileBuilder,
    pub(super) keep: Option<Keep>,
    /// `None` where no text is wanted.
    pub(super) sources: Option<FileSources>,
    /// Where a profile so far is asked for; `None` without `--push`.
    pub(super) requests: Option<Requests>,
}

/// The events of a run, received, and how its program ended.
pub(super) struct Recorded {
    pub(super) taken: Taking,
    pub(super) ended: Ended,
    pub(super) ended_ns: u64,
    pub(super) inodes: HashMap<String, u64>,
    /// Why no process announced itself, as far as that could be seen.
    pub(super) not_preloaded: Option<NotPreloaded>,
}

/// Looks at the program's processes until one has announced itself (`armed`), or the run is over.
fn look_for_unseen(pid: u32, armed: &AtomicBool, over: &Receiver<()>) -> Option<NotPreloaded> {
    let (mut seen, mut pause) = (None, not_preloaded::FIRST);
    while over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) && !armed.load(Ordering::Relaxed) {
        seen = not_preloaded::look(pid).or(seen);
        pause = (pause * 2).min(not_preloaded::LONGEST);
    }
    seen
}

fn consume(taking: Taking, events: &Receiver<Batch>, taken_in: &Sender<Batch>) -> Taking {
    let Taking { mut builder, mut keep, mut sources, requests } = taking;
    let pause = if requests.is_some() { pushing::LOOK } else { Duration::from_secs(1) };
    let mut folders = Folders::default();
    let mut ended = false;
    let mut generated = GeneratedTexts::default();
    loop {
        // The clock is read only where there is nothing to do.
        let next = events.try_recv().or_else(|_| {
            keep.iter_mut().for_each(Keep::tick);
            events.recv_timeout(pause)
        });
        if let Some(requests) = &requests {
            requests.answer(&builder);
        }
        match next {
            Ok(mut batch) => {
                for event in &mut batch {
                    if let Body::CodeDef(code) = &mut event.body {
                        folders.place(event.pid, &mut code.filename);
                    }
                    if let Some(keep) = &mut keep {
                        keep.push(event);
                    }
                    builder.feed(event);
                    if let Some(sources) = &mut sources {
                        keep_source(event, &builder, sources, &mut generated);
                    }
                }
                batch.clear();
                // Where there are enough, or nobody fills them any more, it is freed.
                let _ = taken_in.try_send(batch);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Taking { builder, keep, sources, requests: None },
        }
        if let Some(sources) = &mut sources {
            generated.look(|name, text| sources.keep(name, text));
        }
        if let Some(why) = keep.as_ref().and_then(Keep::ended).filter(|_| !std::mem::replace(&mut ended, true)) {
            let text = format!("the capture for `rscalene recover` is not complete: {why}");
            builder.say(Notice::of_run(codes::CAPTURE_INCOMPLETE, text));
        }
    }
}

/// Keeps the text of code that runs for the first time, if its lines are reported.
fn keep_source(event: &Event, builder: &ProfileBuilder, sources: &mut FileSources, generated: &mut GeneratedTexts) {
    match &event.body {
        Body::ProcessStart(start) => generated.watch(Target::armed(event.pid, start)),
        Body::ProcessExit(_) => generated.forget(event.pid),
        Body::CodeDef(code) if !sources.meet(&code.filename) => match builder.reported(code) {
            // The texts behind `-c` and of standard input are known from elsewhere.
            Some(name) if matches!(&*name, "<string>" | "<stdin>") => {}
            Some(name) if name.starts_with('<') => generated.want(event.pid, &name),
            Some(path) => sources.take(&path),
            None => {}
        },
        _ => {}
    }
}

pub(super) fn cannot_wait(error: &std::io::Error) -> Error {
    Error::new(EXIT_NO_PROFILE, format!("cannot wait for the program: {error}"), "")
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::new(EXIT_NO_PROFILE, format!("cannot start a thread: {error}"), "see `ulimit -u`")
}
