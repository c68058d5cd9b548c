//! `rscalene run`: start the program, collect events while it runs, report however the program ends.
//!
//! Invariant: rscalene exits with the program's exit code; a failure of rscalene never stops, delays or changes the
//! program. stdout belongs to the program. Neighbours: `plan` decides, `launch` starts the program, `record` collects,
//! `outcome` makes the profile, `output` shows and saves the profile.

mod outcome;
mod plan;
mod pushing;
mod record;

use std::path::Path;
use std::sync::Arc;

use self::outcome::Facts;
use self::plan::RunPlan;
use self::pushing::Pushing;
use self::record::{Taking, cannot_wait};
use super::output;
use crate::cli::argv::Program;
use crate::cli::error::{EXIT_CANNOT_RUN, EXIT_NO_PROFILE, EXIT_NOT_FOUND, Error};
use crate::cli::flags::Run;
use crate::cli::messages;
use crate::launch::file_sources::FileSources;
use crate::launch::inline_source::StdinText;
use crate::launch::keep::{Keep, Origin};
use crate::launch::program::Start;
use crate::launch::spawn;
use crate::observe::proc;
use crate::profile::build::builder::{BuilderSettings, ProfileBuilder};
use crate::transport::arena::Arena;
use crate::transport::arena_server::ArenaServer;

/// Processes that can be profiled at a time.
const SEGMENTS: u32 = 1024;

/// From this size on, a block of the launcher is a mapping of its own, which goes back to the kernel when it is freed.
const MAPPED_BYTES: libc::c_int = 256 << 10;

/// Makes freed memory of the launcher return to the kernel: tables that grow by doubling free large blocks, and glibc
/// would keep such blocks in its heaps otherwise. At 60,000 lines with figures, that is 30 MiB of 210.
fn keep_memory_small() {
    // SAFETY: sets a number of glibc's allocator; the launcher's own process alone is concerned.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES) };
}

/// Runs the command; the answer is the exit code.
pub(crate) fn run(flags: &Run, typed: Program, interpreter: &Path) -> Result<i32, Error> {
    let mut plan = RunPlan::new(flags, typed, interpreter)?;
    if plan.unprofiled {
        return run_plain(&plan);
    }
    keep_memory_small();
    let arena = match Arena::create(plan.shim, SEGMENTS, plan.ring) {
        Ok(arena) => Arc::new(arena),
        Err(error) => return without_profile(&plan, &error),
    };
    // Without the socket, processes of other users stay unprofiled.
    let mut server = ArenaServer::bind(&arena).ok();
    let variables = plan.variables(arena.address());
    spawn::forward_signals();
    if plan.verbose {
        let with: Vec<_> =
            variables.iter().map(|(name, value)| format!("{name}={}", value.to_string_lossy())).collect();
        messages::tell(&format!("rscalene: runs {}, with {}", plan.command().join(" "), with.join(" ")));
    }
    let stdin = StdinText::default();
    let mut sources = plan.source.then(FileSources::default);
    if let (Some(sources), Some(script)) = (&mut sources, plan.start.script.as_deref().and_then(Path::to_str)) {
        // Before the program runs: a script may remove itself in its first line.
        sources.take(&plan.scope.absolute(script));
    }
    let started = (std::time::SystemTime::now(), proc::monotonic_ns());
    let child = spawn::start(&plan.start, &variables, stdin.stdin(&plan.typed), spawn::current_mask())
        .map_err(|error| cannot_start(&plan.start, &error))?;
    if let Some(server) = &mut server {
        server.start(Arc::clone(&arena));
    }
    let cwd = plan.cwd.to_string_lossy().into_owned();
    let facts = Facts { started, pid: child.id(), command: plan.command(), cwd, stdin_text: stdin };
    let keep = if plan.capture { Keep::begin(&origin(&plan, &facts)) } else { None };
    let (pushing, requests) = match plan.push.take().map(|server| Pushing::start(server, facts.target())) {
        Some(Ok((pushing, requests))) => (Some(pushing), Some(requests)),
        Some(Err(error)) => {
            messages::tell(&format!("rscalene: `--push` sends nothing: cannot start a thread: {error}"));
            (None, None)
        }
        None => (None, None),
    };
    let taking = Taking { builder: builder(&plan, started.1), keep, sources, requests };
    let mut recorded = record::record(&arena, &child, plan.duration, taking)?;
    let code = recorded.ended.shell_code();
    let keep = recorded.taken.keep.take();
    let sources = recorded.taken.sources.take();
    let source = |path: &str| facts.source(sources.as_ref(), path);
    let refused = recorded.taken.builder.refused(facts.pid);
    let not_preloaded = recorded.not_preloaded.take();
    let slow =
        (!plan.is_quiet()).then(|| messages::say_if_slow("rscalene: the program has ended; the report is being made"));
    let mut profile = outcome::finish(recorded, &facts, &arena, plan.source.then_some(&source));
    drop(slow);
    if plan.sql && profile.sql.is_none() {
        profile.notices.push(outcome::sql_uncounted());
    }
    if plan.verbose {
        messages::tell(&format!("rscalene: {}", outcome::effort(&profile)));
    }
    if let Some((windows, why)) = pushing.and_then(|pushing| pushing.finish(&profile)) {
        let windows = if windows == 1 {
            "1 window of the profile was".to_owned()
        } else {
            format!("{windows} windows of the profile were")
        };
        messages::tell(&format!("rscalene: {windows} not sent by `--push`: {why}"));
    }
    let too_short = plan.duration.filter(|_| outcome::nothing_was_seen(&profile)).map(outcome::nothing_yet);
    let unprofiled =
        too_short.or_else(|| outcome::unprofiled(&profile, &plan.start.executable, refused, not_preloaded.as_ref()));
    let (files, name) = (plan.output(facts.pid), plan.typed.name());
    let reported = output::report(&profile, &plan.report(&name, &files, started.0), unprofiled, &source);
    match keep {
        Some(keep) if reported.unsaved => {
            let (path, complete) = keep.leave();
            let kept = if complete { "is kept" } else { "is kept in part" };
            messages::tell(&format!("the recording {kept}: `rscalene recover {} -o FILE` reports it", path.display()));
        }
        keep => keep.map_or((), Keep::forget),
    }
    if let Some(hint) = outcome::misplaced_option(&plan.typed, code) {
        messages::tell(&hint.to_string());
    }
    spawn::hold_signals();
    Ok(if code == 0 { reported.code } else { code })
}

/// Runs the program without a profile, because the system gives no shared memory to record into.
fn without_profile(plan: &RunPlan<'_>, error: &std::io::Error) -> Result<i32, Error> {
    let why = format!("nothing is profiled: cannot make the shared memory of the profile: {error}");
    messages::tell(&Error::new(EXIT_NO_PROFILE, why, "see `ulimit -a`: -f limits its size, too").to_string());
    let code = run_plain(plan)?;
    Ok(if code == 0 { EXIT_NO_PROFILE } else { code })
}

/// Runs the program as if it had been started without rscalene; the answer is its exit code.
fn run_plain(plan: &RunPlan<'_>) -> Result<i32, Error> {
    spawn::forward_signals();
    let child = spawn::start(&plan.start, &[], StdinText::default().stdin(&plan.typed), spawn::current_mask())
        .map_err(|error| cannot_start(&plan.start, &error))?;
    let ended = spawn::wait(&child, || {}).map_err(|error| cannot_wait(&error))?;
    spawn::hold_signals();
    Ok(ended.shell_code())
}

/// The head of the capture.
fn origin(plan: &RunPlan<'_>, facts: &Facts) -> Origin {
    Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: facts.command.clone(),
        cwd: facts.cwd.clone(),
        pid: facts.pid,
        started_at: facts.started_at(),
        start_ns: facts.started.1,
        settings: plan.settings.clone(),
        scope: plan.rules.clone(),
    }
}

fn builder(plan: &RunPlan<'_>, start_ns: u64) -> ProfileBuilder {
    let settings = BuilderSettings { settings: plan.settings.clone(), start_ns, waits: true, in_process: false };
    ProfileBuilder::new(settings, plan.scope.clone())
}

fn cannot_start(start: &Start, error: &std::io::Error) -> Error {
    let shown = start.executable.display();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Error::new(
            EXIT_NOT_FOUND,
            format!("cannot run `{shown}`: it, or the interpreter in its first line, does not exist"),
            "check the path behind `#!`",
        ),
        Some(libc::ENOEXEC) => Error::new(
            EXIT_CANNOT_RUN,
            format!("cannot run `{shown}`: it is no program, and has no `#!` line"),
            "name its interpreter, as in `rscalene run sh FILE`",
        ),
        _ => Error::new(EXIT_CANNOT_RUN, format!("cannot run `{shown}`: {error}"), "check its permissions"),
    }
}
