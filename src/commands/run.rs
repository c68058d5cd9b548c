//! `rscalene run`: start the program, collect while it runs, report however it ends.
//!
//! Invariant: the program's exit code is ours; what goes wrong on our side never stops, delays or changes it. stdout is
//! the program's. Neighbours: `program` and `spawn` start it, `transport` and `observe` watch it, `profile` merges,
//! `output` shows.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rscalene_wire as wire;

use super::output;
use crate::cli::error::{EXIT_CANNOT_RUN, EXIT_NO_PROFILE, EXIT_NOT_FOUND, EXIT_USAGE, Error};
use crate::cli::flags::{CpuSource, MemoryMode, Run, run_command};
use crate::cli::messages;
use crate::cli::words::{Program, misplaced};
use crate::launch::given::{self, Given};
use crate::launch::keep::{Keep, Origin};
use crate::launch::preload::{Shim, refuse_foreign_proc, refuse_sanitizers};
use crate::launch::program;
use crate::launch::spawn::{self, Ended};
use crate::launch::texts::Texts;
use crate::observe::proc;
use crate::observe::remote::{Remote, Target};
use crate::observe::symbols::Symbols;
use crate::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use crate::profile::build::scope::{Scope, ScopeRules};
use crate::profile::model::{self, Profile};
use crate::report::format::Format;
use crate::source;
use crate::transport::arena::Arena;
use crate::transport::drain::Drain;
use crate::transport::event::{Batch, Body, Event, ProcessExit};
use crate::units;

/// Processes that can be profiled at a time.
const SEGMENTS: u32 = 1024;
/// Batches of events on their way to the builder: enough for a burst, little enough for memory.
const BATCHES: usize = 256;
/// Ring bytes of a process: a tenth of a second of a busy program.
const RING_CPU: usize = 2 << 20;
const RING_MEMORY: usize = 4 << 20;
const RING_EXACT: usize = 8 << 20;

/// Runs the command; the answer is the exit code.
pub(crate) fn run(flags: &Run, typed: Program, interpreter: &Path) -> Result<i32, Error> {
    output::check(&flags.output)?;
    let chosen = flags.python.as_deref().unwrap_or(interpreter);
    let start = program::resolve(&typed, chosen)?;
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let rules = rules(flags, &cwd, &start);
    let scope = Scope::new(rules.clone())
        .map_err(|bad| Error::new(EXIT_USAGE, bad.to_string(), "globs look like `src/**/*.py`"))?;
    let shim = Shim::find()?;
    let preloaded = std::env::var_os("LD_PRELOAD");
    refuse_sanitizers(preloaded.as_deref())?;
    refuse_foreign_proc()?;
    let settings = settings(flags);
    let ring = match flags.memory {
        MemoryMode::Off => RING_CPU,
        MemoryMode::Sampled => RING_MEMORY,
        MemoryMode::Exact => RING_EXACT,
    };
    let arena = match Arena::create(settings, SEGMENTS, ring) {
        Ok(arena) => Arc::new(arena),
        Err(error) => return without_profile(&start, &typed, &error),
    };
    let variables = [("LD_PRELOAD", shim.preload(preloaded.as_deref())), (wire::ARENA_ENV, arena.address())];
    spawn::forward_signals();
    if flags.verbose {
        messages::tell(&format!("rscalene: runs {}, {}", shown(&start.words).join(" "), recorder(&variables)));
    }
    let given = Given::default();
    let mut texts = (!flags.show.paper.no_source).then(Texts::default);
    if let (Some(texts), Some(script)) = (&mut texts, start.script.as_deref().and_then(Path::to_str)) {
        // Before it runs: a script may remove itself in its first line.
        texts.take(&scope.absolute(script));
    }
    let started = (SystemTime::now(), proc::monotonic_ns());
    let child = spawn::start(&start, &variables, given.stdin(&typed), spawn::current_mask())
        .map_err(|error| cannot_start(&start, &error))?;
    let facts = Facts { started, pid: child.id(), words: start.words, cwd, given };
    let keep = if flags.no_capture { None } else { Keep::begin(&origin(flags, &facts, rules)) };
    let mut recorded =
        record(&arena, &child, flags.duration, Taking { builder: builder(flags, scope, started.1), keep, texts })?;
    let code = recorded.ended.shell_code();
    let keep = recorded.taken.keep.take();
    let texts = recorded.taken.texts.take();
    let source = |path: &str| facts.source(texts.as_ref(), path);
    let refused = recorded.taken.builder.refused(facts.pid);
    let profile = finish(recorded, &facts, &arena, flags, &source);
    if flags.verbose {
        messages::tell(&format!("rscalene: {}", effort(&profile)));
    }
    let too_short = flags.duration.filter(|_| nothing_was_seen(&profile)).map(nothing_yet);
    let unprofiled = too_short.or_else(|| unprofiled(&profile, &start.executable, refused));
    let wanted = output::Wanted {
        output: &flags.output,
        open: flags.open,
        quiet: flags.quiet,
        show: &flags.show,
        name: &typed.name(),
        started: facts.started.0,
    };
    let reported = output::report(&profile, &wanted, unprofiled, &source);
    match keep {
        Some(keep) if reported.unsaved => {
            let (path, complete) = keep.leave();
            let kept = if complete { "is kept" } else { "is kept in part" };
            messages::tell(&format!("the recording {kept}: `rscalene recover {} -o FILE` reports it", path.display()));
        }
        keep => keep.map_or((), Keep::forget),
    }
    hint_misplaced(&typed, code);
    spawn::hold_signals();
    Ok(if code == 0 { reported.code } else { code })
}

/// Says that an option of ours stands behind the program's name, where the program did not take it: it ended as programs
/// do that do not understand their options, or the file of `-o` is not there.
fn hint_misplaced(typed: &Program, code: i32) {
    // argparse and click, pytest, and sysexits.h.
    const BY_USAGE: [i32; 3] = [2, 4, 64];
    let Some(found) = misplaced(&run_command(), typed) else { return };
    let unwritten = found.file.as_deref().filter(|file| Format::of(file).is_some() && !file.exists());
    if !BY_USAGE.contains(&code) && unwritten.is_none() {
        return;
    }
    let (option, program) = (found.option, found.program);
    let value = found.file.map(|file| format!(" {}", file.display())).unwrap_or_default();
    let why = format!("`{option}` stands behind `{program}`, so the program got it, not rscalene");
    let hint = format!("an option of rscalene stands before the program: `rscalene run {option}{value} {program} ...`");
    messages::tell(&Error::new(code, why, hint).to_string());
}

/// Was the profile cut off before anything was sampled?
fn nothing_was_seen(profile: &Profile) -> bool {
    profile.clock.program_s.is_some() && profile.totals.cpu_samples == 0 && profile.totals.alloc_samples == 0
}

/// Why there is nothing in a profile that was cut off so early.
fn nothing_yet(duration: Duration) -> Error {
    let duration = units::seconds(duration.as_secs_f64());
    let why = format!("nothing was profiled: no Python was at work yet when `--duration` ({duration}) was over");
    Error::new(EXIT_NO_PROFILE, why, "name a longer `--duration`: an interpreter takes 10 to 50 ms to start")
}

/// Runs the program all the same where the system gives no shared memory to record into.
fn without_profile(start: &program::Start, typed: &Program, error: &std::io::Error) -> Result<i32, Error> {
    let why = format!("nothing is profiled: cannot make the shared memory of the profile: {error}");
    messages::tell(&Error::new(EXIT_NO_PROFILE, why, "see `ulimit -a`: -f limits its size, too").to_string());
    spawn::forward_signals();
    let child = spawn::start(start, &[], Given::default().stdin(typed), spawn::current_mask())
        .map_err(|error| cannot_start(start, &error))?;
    let ended = spawn::wait(&child, || {}).map_err(|error| cannot_wait(&error))?;
    let code = ended.shell_code();
    Ok(if code == 0 { EXIT_NO_PROFILE } else { code })
}

fn cannot_wait(error: &std::io::Error) -> Error {
    Error::new(EXIT_NO_PROFILE, format!("cannot wait for the program: {error}"), "")
}

/// Why there are no lines, and what to do, where the program's interpreter (`refused`) or the lack of one is the reason.
fn unprofiled(profile: &Profile, executable: &Path, refused: Option<String>) -> Option<Error> {
    let supported = "CPython 3.11 to 3.15 is supported";
    let error = |(why, hint)| Error::new(EXIT_NO_PROFILE, why, hint);
    if profile.target.python.is_none() {
        // Nothing answered: no Python, or none that a preload reaches.
        let (why, hint) = program::unreachable(executable).unwrap_or_else(|| {
            let hint = format!(
                "`rscalene doctor` tells what works here; {supported}; in a container or sandbox, run `rscalene` inside"
            );
            ("no supported Python ran in the program".to_owned(), hint)
        });
        return Some(error((format!("nothing was profiled: {why}"), hint)));
    }
    let refused = refused.filter(|_| profile.files.is_empty())?;
    let why = format!("no line was profiled: this build of {refused} is not supported, and there are only totals");
    Some(error((why, format!("use a regular build (`rscalene run --python PATH ...`); {supported}"))))
}

fn origin(flags: &Run, facts: &Facts, scope: ScopeRules) -> Origin {
    Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: shown(&facts.words),
        cwd: facts.cwd.to_string_lossy().into_owned(),
        pid: facts.pid,
        started_at: humantime::format_rfc3339_seconds(facts.started.0).to_string(),
        start_ns: facts.started.1,
        settings: model_settings(flags),
        scope,
    }
}

/// What the program gets in its environment.
fn recorder(variables: &[(&str, OsString)]) -> String {
    let words: Vec<_> = variables.iter().map(|(name, value)| format!("{name}={}", value.to_string_lossy())).collect();
    format!("with {}", words.join(" "))
}

/// What was recorded, and what it took of this process so far.
fn effort(profile: &Profile) -> String {
    let totals = &profile.totals;
    format!(
        "{} CPU samples every {} ({}), {} allocation samples, {} records lost; the launcher took {} of CPU",
        units::count(totals.cpu_samples),
        units::seconds(profile.settings.cpu.interval_s),
        profile.settings.cpu.source,
        units::count(totals.alloc_samples),
        units::count(totals.lost_records),
        units::seconds(proc::whole_cpu().as_secs_f64()),
    )
}

fn shown(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// What it runs on, as profiles say it.
pub(crate) fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// What is known of the run besides what was recorded.
struct Facts {
    started: (SystemTime, u64),
    pid: u32,
    words: Vec<OsString>,
    cwd: PathBuf,
    given: Given,
}

impl Facts {
    /// The text that lines of the program stand in: as it was given or found while it ran, else as it is now.
    fn source(&self, texts: Option<&Texts>, path: &str) -> Option<String> {
        let given = || self.given.text(path).or_else(|| given::on_command_line(&shown(&self.words), path));
        given().or_else(|| texts?.text(path)).or_else(|| source::text(path))
    }
}

fn cannot_start(start: &program::Start, error: &std::io::Error) -> Error {
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

fn settings(flags: &Run) -> wire::Settings {
    let memory = flags.memory;
    wire::Settings {
        cpu_mode: match flags.cpu_source {
            CpuSource::Auto => wire::CpuMode::ANY,
            CpuSource::Perf => wire::CpuMode::PERF,
            CpuSource::Timer => wire::CpuMode::TIMER,
        },
        memory_mode: match memory {
            MemoryMode::Off => wire::MemoryMode::OFF,
            MemoryMode::Sampled => wire::MemoryMode::SAMPLED,
            MemoryMode::Exact => wire::MemoryMode::EXACT,
        },
        cpu_interval_ns: u64::try_from(flags.interval.as_nanos()).unwrap_or(u64::MAX),
        memory_interval_bytes: 64 * 1024,
        memory_adaptive: wire::Switch::ON,
        copy_volume: wire::Switch::from_bool(memory != MemoryMode::Off),
        follow_children: wire::Switch::from_bool(!flags.no_children),
        ..wire::Settings::default()
    }
}

fn rules(flags: &Run, cwd: &Path, start: &program::Start) -> ScopeRules {
    let folders = ["site-packages", "dist-packages"];
    let own = start.package.iter().flat_map(|package| folders.map(|folder| format!("**/{folder}/{package}")));
    ScopeRules {
        cwd: cwd.to_string_lossy().into_owned(),
        all: flags.scope.all,
        include: flags.scope.include.iter().cloned().chain(own).collect(),
        exclude: flags.scope.exclude.clone(),
        libraries: Vec::new(),
        scripts: start.script.as_deref().map(|path| path.to_string_lossy().into_owned()).into_iter().collect(),
    }
}

fn model_settings(flags: &Run) -> model::Settings {
    let memory = flags.memory;
    model::Settings {
        cpu: model::CpuSettings { source: "timer".to_owned(), interval_s: flags.interval.as_secs_f64() },
        memory: model::MemorySettings {
            mode: match memory {
                MemoryMode::Off => "off",
                MemoryMode::Sampled => "sampled",
                MemoryMode::Exact => "exact",
            }
            .to_owned(),
            interval_bytes: (memory == MemoryMode::Sampled).then_some(64 * 1024),
        },
        scope: model::ScopeSettings {
            include: flags.scope.include.clone(),
            exclude: flags.scope.exclude.clone(),
            all: flags.scope.all,
        },
    }
}

fn builder(flags: &Run, scope: Scope, start_ns: u64) -> ProfileBuilder {
    ProfileBuilder::new(
        BuilderSettings { settings: model_settings(flags), start_ns, waits: true, copies_unseen: false },
        scope,
    )
}

/// Collects until the child has ended (or, after `duration`, no more).
fn record(arena: &Arc<Arena>, child: &Child, duration: Option<Duration>, taking: Taking) -> Result<Recorded, Error> {
    let (to_merge, events) = bounded::<Batch>(BATCHES);
    let (taken_in, spare) = bounded::<Batch>(BATCHES);
    let merging = std::thread::Builder::new()
        .name("rscalene-merge".into())
        .spawn(move || consume(taking, &events, &taken_in))
        .map_err(|error| no_thread(&error))?;
    let remote = Arc::new(Remote::start(to_merge.clone()).map_err(|error| no_thread(&error))?);
    let drain = Drain::start(Arc::clone(arena), to_merge.clone(), spare, proc::command_line, {
        let remote = Arc::clone(&remote);
        move |pid, start| {
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
    let mut inodes = HashMap::new();
    let mut ended_ns = 0;
    let ended = spawn::wait(child, || {
        ended_ns = proc::monotonic_ns();
        drain.finish();
        inodes = remote.stop();
    })
    .map_err(|error| cannot_wait(&error))?;
    drop(leave);
    // What outlives the program is watched no longer, and its shims need not go on.
    arena.stop();
    let exit = ProcessExit { time_ns: ended_ns, code: ended.code, signal: ended.signal, peak_rss: None, cpu_ns: None };
    let _ = to_merge.send(vec![Event { pid: child.id(), body: Body::ProcessExit(exit) }]);
    drop(to_merge);
    let taken = merging.join().map_err(|_| {
        Error::new(EXIT_NO_PROFILE, "internal error in the merge", "please report it, with the command line")
    })?;
    Ok(Recorded { taken, ended, ended_ns, inodes })
}

/// What takes in the events of a run.
struct Taking {
    builder: ProfileBuilder,
    keep: Option<Keep>,
    /// `None` where no text is wanted.
    texts: Option<Texts>,
}

/// What a run has left.
struct Recorded {
    taken: Taking,
    ended: Ended,
    ended_ns: u64,
    inodes: HashMap<String, u64>,
}

fn consume(taking: Taking, events: &Receiver<Batch>, taken_in: &Sender<Batch>) -> Taking {
    let Taking { mut builder, mut keep, mut texts } = taking;
    let mut ended = false;
    loop {
        // The clock is read only where there is nothing to do.
        let next = events.try_recv().or_else(|_| {
            keep.iter_mut().for_each(Keep::tick);
            events.recv_timeout(Duration::from_secs(1))
        });
        match next {
            Ok(mut batch) => {
                for event in &batch {
                    if let Some(keep) = &mut keep {
                        keep.push(event);
                    }
                    builder.feed(event);
                    if let (Some(texts), Body::CodeDef(code)) = (&mut texts, &event.body)
                        && !texts.meet(&code.filename)
                        && let Some(path) = builder.reported(code)
                    {
                        texts.take(&path);
                    }
                }
                batch.clear();
                // Where there are enough, or nobody fills them any more, it is freed.
                let _ = taken_in.try_send(batch);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Taking { builder, keep, texts },
        }
        if let Some(why) = keep.as_ref().and_then(Keep::ended).filter(|_| !std::mem::replace(&mut ended, true)) {
            builder.say(format!("the capture for `rscalene recover` is not complete: {why}"));
        }
    }
}

fn finish(recorded: Recorded, facts: &Facts, arena: &Arena, flags: &Run, text: output::ReadSource<'_>) -> Profile {
    let Recorded { taken: Taking { builder, .. }, ended, ended_ns, inodes } = recorded;
    let mut notices = Vec::new();
    for (count, which) in [
        (arena.refused(), "that found no room in the shared memory"),
        (arena.elsewhere().into(), "in PID namespaces of their own, as in a sandbox"),
    ] {
        if count > 0 {
            notices.push(format!("processes {which}: {count}; they were not profiled"));
        }
    }
    let mut symbols = Symbols::new(inodes);
    let target = model::Target {
        command: shown(&facts.words),
        cwd: facts.cwd.to_string_lossy().into_owned(),
        python: None,
        free_threaded: false,
        platform: platform(),
        pid: facts.pid,
        exit: model::Exit { code: ended.code, signal: ended.signal },
        allocator: None,
        attached: None,
    };
    let mut source = |path: &str| text(path).filter(|_| !flags.show.paper.no_source).map(|text| lines(&text));
    builder.finish(Context {
        tool: model::Tool { version: env!("CARGO_PKG_VERSION").to_owned() },
        target,
        clock: model::Clock {
            started_at: humantime::format_rfc3339_seconds(facts.started.0).to_string(),
            elapsed_s: Duration::from_nanos(ended_ns.saturating_sub(facts.started.1)).as_secs_f64(),
            program_s: None,
        },
        notices,
        source: &mut source,
        lookup: &mut |path, offset| symbols.function(path, offset).map(str::to_owned),
    })
}

/// A text's lines.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::new(EXIT_NO_PROFILE, format!("cannot start a thread: {error}"), "see `ulimit -u`")
}
