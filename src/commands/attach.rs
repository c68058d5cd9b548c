//! `rscalene attach`: profiles a process that already runs.
//!
//! Invariant: rscalene observes the process from outside. It does not stop, signal or write the process, and the
//! process goes on after this command ends, whatever the reason. If something cannot be observed, the message says the
//! reason and one thing to do. Neighbours: `observe::outside` observes, `profile` merges, `output` shows.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use super::output::{self, Wanted, lines, platform};
use crate::cli::error::{EXIT_NO_PROFILE, EXIT_USAGE, Error};
use crate::cli::flags::{Attach, CpuSource, ScopeFlags};
use crate::cli::messages::tell;
use crate::launch::file_sources::FileSources;
use crate::launch::inline_source;
use crate::observe::outside::{Engine, Outside, Refused, Settings};
use crate::observe::proc;
use crate::observe::rank;
use crate::observe::root::Root;
use crate::observe::symbols::Symbols;
use crate::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use crate::profile::build::scope::{Scope, ScopeRules};
use crate::profile::model::{self, Notice, Profile, codes};
use crate::source;
use crate::transport::event::{Body, Event};
use crate::units;

/// Longest wait for an event. After this time the loop checks for a request to end.
const STEP: Duration = Duration::from_millis(100);

/// Runs the command; returns the exit code.
pub(crate) fn attach(flags: &Attach) -> Result<i32, Error> {
    output::check(&flags.output)?;
    let mut facts = Facts::of(flags.pid);
    let scope = scope(&facts, &flags.scope)?;
    let settings =
        Settings { interval: flags.interval, children: flags.subprocesses, perf: flags.cpu_source != CpuSource::Timer };
    let mut events = Vec::new();
    let mut outside = Outside::attach(flags.pid, settings, &mut events).map_err(refused)?;
    facts.started = (SystemTime::now(), proc::monotonic_ns());
    if flags.cpu_source == CpuSource::Perf && outside.engine() == Engine::Looks {
        let hint = "`--cpu-source auto` looks at random moments instead";
        return Err(Error::new(EXIT_NO_PROFILE, "the kernel gives no perf events on this process", hint));
    }
    heed_requests_to_end();
    let mut taking = Taking::new(flags, scope, &facts);
    taking.feed(&mut events);
    if !flags.quiet {
        let how = flags
            .duration
            .map_or("until Ctrl-C".to_owned(), |time| format!("for {}", units::seconds(time.as_secs_f64())));
        tell(&format!("rscalene: looks at process {} from outside ({}), {how}", flags.pid, named(outside.engine())));
    }
    let end = flags.duration.map(|duration| Instant::now() + duration);
    let mut ended = false;
    while !ended && !asked_to_end() {
        let left = end.map_or(STEP, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            break;
        }
        ended = !outside.step(left.min(STEP), &mut events);
        taking.feed(&mut events);
    }
    let ended_ns = proc::monotonic_ns();
    let (engine, dropped) = (outside.engine(), outside.dropped());
    let inodes = outside.finish(&mut events);
    taking.feed(&mut events);
    let mut symbols = Symbols::new(inodes).under(Root::of(flags.pid));
    let Taking { builder, sources, .. } = taking;
    let source = |path: &str| sources.text(path).or_else(|| facts.source(path));
    let profile = finish(builder, &facts, (engine, ended_ns), &mut symbols, &source, flags);
    if !flags.quiet && ended {
        tell(&format!("process {} ended after {}", flags.pid, units::seconds(profile.clock.elapsed_s)));
    }
    if flags.verbose {
        tell(&effort(&profile, engine, dropped));
    }
    let wanted = Wanted {
        output: &flags.output,
        open: flags.open,
        quiet: flags.quiet,
        show: &flags.show,
        name: &format!("attach-{}", flags.pid),
        started: facts.started.0,
    };
    Ok(output::report(&profile, &wanted, unprofiled(&profile, flags.pid), &source).code)
}

/// The error for a profile without any sample or wait.
fn unprofiled(profile: &Profile, pid: u32) -> Option<Error> {
    let waits = profile.totals.time.wait_s.unwrap_or(0.0);
    let nothing = profile.totals.cpu_samples == 0 && waits <= 0.0;
    let hint = "look for longer with `-d`";
    nothing.then(|| {
        Error::new(
            EXIT_NO_PROFILE,
            format!("nothing was seen of process {pid}: it ended, or ran no Python meanwhile"),
            hint,
        )
    })
}

/// The message of `--verbose`: the observations, and their cost in CPU time.
fn effort(profile: &Profile, engine: Engine, dropped: u64) -> String {
    format!(
        "rscalene: {} CPU samples every {} ({}), {} more came too late for their frames; this took {} of CPU",
        units::count(profile.totals.cpu_samples),
        units::seconds(profile.settings.cpu.interval_s),
        named(engine),
        units::count(dropped),
        units::seconds(proc::whole_cpu().as_secs_f64()),
    )
}

/// The source of the CPU samples, as reports call it.
pub(crate) fn named(engine: Engine) -> &'static str {
    match engine {
        Engine::Perf => "perf",
        Engine::PerfUser => "perf, kernel time by ticks",
        Engine::Looks => "looks",
    }
}

/// The error of the command for a process that cannot be observed.
pub(crate) fn refused(refused: Refused) -> Error {
    Error::new(EXIT_NO_PROFILE, refused.message, refused.hint)
}

/// Feeds events into a profile, and keeps each source file when its code is first seen.
struct Taking<'a> {
    facts: &'a Facts,
    builder: ProfileBuilder,
    sources: FileSources,
}

impl<'a> Taking<'a> {
    fn new(flags: &Attach, scope: Scope, facts: &'a Facts) -> Self {
        let settings = model::Settings {
            cpu: model::CpuSettings { source: "perf".to_owned(), interval_s: flags.interval.as_secs_f64() },
            memory: model::MemorySettings { mode: "off".to_owned(), interval_bytes: None },
            scope: model::ScopeSettings {
                include: flags.scope.include.clone(),
                exclude: flags.scope.exclude.clone(),
                all: flags.scope.all,
            },
        };
        let settings = BuilderSettings { settings, start_ns: facts.started.1, waits: true, in_process: false };
        Self { facts, builder: ProfileBuilder::new(settings, scope), sources: FileSources::default() }
    }

    fn feed(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.builder.feed(&event);
            if let Body::CodeDef(code) = &event.body
                && !self.sources.meet(&code.filename)
                && let Some(path) = self.builder.reported(code)
            {
                self.sources.take_from(&path, &self.facts.root.path(&path));
            }
        }
    }
}

fn finish(
    builder: ProfileBuilder,
    facts: &Facts,
    (engine, ended_ns): (Engine, u64),
    symbols: &mut Symbols,
    text: output::ReadSource<'_>,
    flags: &Attach,
) -> Profile {
    let mut notices = Vec::new();
    match engine {
        Engine::Perf => {}
        Engine::PerfUser => notices.push(Notice::of_run(
            codes::KERNEL_BY_TICKS,
            "kernel time is known by the clock's ticks alone (perf_event_paranoid)",
        )),
        Engine::Looks => notices.push(Notice::of_run(
            codes::WITHOUT_PERF,
            "without perf: the lines of short bursts of work are approximate, and kernel time is known by the clock's ticks",
        )),
    }
    let elapsed_ns = ended_ns.saturating_sub(facts.started.1);
    builder.finish(Context {
        tool: model::Tool { version: env!("CARGO_PKG_VERSION").to_owned() },
        target: model::Target {
            command: facts.command.clone(),
            cwd: facts.cwd.clone(),
            platform: platform(),
            pid: facts.pid,
            attached: Some(format!("outside ({})", named(engine))),
            host: rank::host(),
            ..model::Target::default()
        },
        clock: model::Clock {
            started_at: humantime::format_rfc3339_seconds(facts.started.0).to_string(),
            elapsed_s: Duration::from_nanos(elapsed_ns).as_secs_f64(),
            program_s: None,
        },
        notices,
        source: &mut |path| text(path).filter(|_| !flags.show.rendering.no_source).map(|text| lines(&text)),
        lookup: &mut |path, offset| symbols.function(path, offset).map(str::to_owned),
    })
}

/// The scope of the report, from the options and the process.
pub(crate) fn scope(facts: &Facts, flags: &ScopeFlags) -> Result<Scope, Error> {
    let rules = ScopeRules {
        cwd: facts.cwd.clone(),
        all: flags.all,
        include: flags.include.clone(),
        exclude: flags.exclude.clone(),
        libraries: Vec::new(),
        scripts: facts.script().into_iter().collect(),
    };
    Scope::new(rules).map_err(|bad| Error::new(EXIT_USAGE, bad.to_string(), "globs look like `src/**/*.py`"))
}

/// Number of requests to end so far.
static ENDS: AtomicI32 = AtomicI32::new(0);

/// Has the user asked this command to end?
pub(crate) fn asked_to_end() -> bool {
    ENDS.load(Relaxed) > 0
}

/// From now on the first Ctrl-C, SIGTERM or SIGHUP asks for the report, and the second ends this process.
pub(crate) fn heed_requests_to_end() {
    extern "C" fn asked(signal: libc::c_int) {
        if ENDS.fetch_add(1, Relaxed) > 0 {
            // SAFETY: `_exit` is async-signal-safe.
            unsafe { libc::_exit(128 + signal) };
        }
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: all bytes zero is a valid sigaction.
        let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
        new.sa_sigaction = asked as *const () as usize;
        // SAFETY: the handler makes async-signal-safe calls alone.
        unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
    }
}

/// Facts about the process from outside of the profile.
pub(crate) struct Facts {
    pub(crate) pid: u32,
    pub(crate) started: (SystemTime, u64),
    pub(crate) command: Vec<String>,
    pub(crate) cwd: String,
    root: Root,
}

impl Facts {
    /// Reads the facts of process `pid` as they are now.
    pub(crate) fn of(pid: u32) -> Self {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_else(|_| PathBuf::from("/"));
        Self {
            pid,
            started: (SystemTime::now(), proc::monotonic_ns()),
            command: proc::command_line(pid).unwrap_or_default(),
            cwd: cwd.to_string_lossy().into_owned(),
            root: Root::of(pid),
        }
    }

    /// The source text for a file name of the program: from its command line, or from the file.
    pub(crate) fn source(&self, path: &str) -> Option<String> {
        inline_source::on_command_line(&self.command, path).or_else(|| source::text(self.root.path(path).to_str()?))
    }

    /// The command line. The folder of the interpreter is left out.
    pub(crate) fn title(&self) -> String {
        let mut args = self.command.clone();
        if let Some(first) = args.first_mut() {
            *first = first.rsplit('/').next().unwrap_or(first).to_owned();
        }
        args.join(" ")
    }

    /// The text of one line of the program, without white space at its ends.
    pub(crate) fn source_line(&self, path: &str, line: u32) -> Option<String> {
        let text = self.source(path)?;
        Some(text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?.trim().to_owned())
    }

    /// The program's script, as the command line names it.
    fn script(&self) -> Option<String> {
        let mut args = self.command.iter().skip(1);
        while let Some(word) = args.next() {
            match word.as_str() {
                "-c" | "-m" | "-" => return None,
                "-W" | "-X" | "--check-hash-based-pycs" => drop(args.next()),
                flag if flag.starts_with('-') => {}
                script => return Some(script.to_owned()),
            }
        }
        None
    }
}
