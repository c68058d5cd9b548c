//! The sampling API's engine: start, stop and report, inside of the program that is profiled.
//!
//! Job: run one thread that samples CPU and waits of all threads of this process, and merge what it saw with what `tap`
//! says of memory. Invariant: each sampler has a thread and a builder of its own, so any number may run at once and nest; a
//! stopped one has left nothing behind; in a forked child none runs. Neighbours: `observe::looks` and `observe::remote`
//! look, `profile` merges, `report` prints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use super::company;
use super::intake::Intake;
use super::pace::{Goes, Pace, State};
use super::tap::{self, Ear, Listening, Mark};
use crate::bindings::profile::ProfileData;
use crate::bindings::symbols;
use crate::lines::engine::split::Tally;
use crate::lines::engine::threads::keep_bytes_out;
use crate::observe::apart::Apart;
use crate::observe::jitter::Jitter;
use crate::observe::looks::{Inside, thread_cpu_ns};
use crate::observe::proc;
use crate::observe::remote::{Reader, Target};
use crate::observe::turns;
use crate::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use crate::profile::build::scope::{Scope, ScopeRules};
use crate::profile::model::{self, Profile};
use crate::report::html::{HtmlOptions, render_html};
use crate::report::{self, Options, Style, export, json};
use crate::source;

/// Samples this process. See `rscalene.Profiler`.
#[pyclass(module = "rscalene._rscalene")]
pub(crate) struct Sampler {
    interval: Duration,
    rules: ScopeRules,
    memory: bool,
    name: String,
    pace: Arc<Pace>,
    running: Option<Running>,
    profile: Option<Profile>,
}

/// What a sampler has while it runs.
struct Running {
    /// The process that started it.
    pid: u32,
    thread: JoinHandle<Profile>,
    listening: Option<Listening>,
    /// The section of a launcher's profile.
    mark: Option<Mark>,
}

#[pymethods]
impl Sampler {
    /// `interval_s` between two looks; `libraries` are folders that are out of scope unless `all`, beside the
    /// interpreter's; `script` is in scope; `memory` samples allocations; `name` is that of the section under
    /// `rscalene run`.
    #[new]
    #[pyo3(signature = (interval_s, *, all=false, include=Vec::new(), exclude=Vec::new(), libraries=Vec::new(), script=None, memory=true, name="profiler"))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        py: Python<'_>,
        interval_s: f64,
        all: bool,
        include: Vec<String>,
        exclude: Vec<String>,
        mut libraries: Vec<String>,
        script: Option<String>,
        memory: bool,
        name: &str,
    ) -> PyResult<Self> {
        libraries.extend(keep_bytes_out(|| interpreters_folders(py))?.iter().cloned());
        let interval = Duration::try_from_secs_f64(interval_s)
            .map_err(|error| PyValueError::new_err(format!("interval: {error}")))?
            .max(Duration::from_micros(100));
        let cwd = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        let rules = ScopeRules { cwd, all, include, exclude, libraries, scripts: script.into_iter().collect() };
        scope(&rules)?;
        let name = name.to_owned();
        Ok(Self { interval, rules, memory, name, pace: Arc::new(Pace::new()), running: None, profile: None })
    }

    /// Start sampling; what was recorded before is dropped.
    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        self.forget_parents();
        if self.running.is_some() {
            return Err(PyRuntimeError::new_err("this profiler is running already"));
        }
        keep_bytes_out(|| self.begin(py))
    }

    /// Stop sampling and make the profile; does nothing when it is stopped.
    fn stop(&mut self, py: Python<'_>) -> PyResult<()> {
        self.forget_parents();
        let Some(running) = self.running.take() else { return Ok(()) };
        self.profile = Some(keep_bytes_out(|| running.end(py, &self.pace))?);
        Ok(())
    }

    /// Stop sampling for a while (`True`), or go on. Has taken effect when it returns.
    fn pause(&mut self, py: Python<'_>, paused: bool) {
        self.forget_parents();
        let Some(running) = &self.running else { return };
        if let Some(listening) = &running.listening {
            listening.pause(paused);
        }
        let (pace, thread) = (&self.pace, running.thread.thread());
        let state = if paused { State::Pause } else { State::Run };
        keep_bytes_out(|| py.detach(|| pace.ask(state, thread)));
    }

    /// Drop what was recorded.
    fn reset(&mut self) {
        self.profile = None;
    }

    /// Is it running (or paused)?
    #[getter]
    fn running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.pid == std::process::id())
    }

    /// Sample no memory any more, in any sampler: the interpreter goes, or this is a forked child.
    #[staticmethod]
    fn unhook(py: Python<'_>) {
        tap::unhook(py);
    }

    /// The table as text.
    fn text(&self, unicode: bool, color: bool, width: usize) -> PyResult<String> {
        let style = Style { width: width.max(40), color, unicode };
        Ok(report::render_table(self.profile()?, &Options::default(), &style, &source::text))
    }

    /// The profile as an object of its own.
    fn result(&self) -> PyResult<ProfileData> {
        Ok(ProfileData::new(self.profile()?.clone()))
    }

    /// The profile as JSON, format 1.
    fn json(&self) -> PyResult<String> {
        let mut text = Vec::new();
        json::write(self.profile()?, json::Layout::Compact, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The profile as one HTML page.
    fn html(&self, source: bool) -> PyResult<String> {
        let options = HtmlOptions { source, ..HtmlOptions::default() };
        Ok(render_html(self.profile()?, &options, &source::text))
    }

    /// The profile as `pstats` reads it from a file.
    fn pstats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &export::pstats(self.profile()?)))
    }
}

impl Running {
    fn end(self, py: Python<'_>, pace: &Pace) -> PyResult<Profile> {
        let Self { thread, listening, mark, .. } = self;
        drop(mark);
        if let Some(mut listening) = listening {
            listening.leave(py);
        }
        pace.tell(State::Stop);
        thread.thread().unpark();
        let profile = py.detach(|| thread.join());
        profile.map_err(|_| PyRuntimeError::new_err("internal error in the sampling thread"))
    }
}

impl Sampler {
    fn begin(&mut self, py: Python<'_>) -> PyResult<()> {
        let target = target();
        let mut events = Vec::new();
        let interval_ns = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let mut inside = Inside::new(target, interval_ns, &mut events).map_err(|why| {
            PyRuntimeError::new_err(format!("cannot sample this process, its frames cannot be read: {why:?}"))
        })?;
        let heard = if self.memory { Some(tap::listen(py)?) } else { None };
        let (listening, unheard) = match heard {
            Some(Ok(listening)) => (Some(listening), None),
            Some(Err(why)) => (None, Some(format!("memory by line is not known: {why}"))),
            None => (None, None),
        };
        let started = (SystemTime::now(), proc::monotonic_ns());
        let mode = if listening.is_some() { "sampled" } else { "off" };
        let settings = model::Settings {
            cpu: model::CpuSettings { source: "timer".to_owned(), interval_s: self.interval.as_secs_f64() },
            memory: model::MemorySettings { mode: mode.to_owned(), interval_bytes: None },
            scope: model::ScopeSettings {
                include: self.rules.include.clone(),
                exclude: self.rules.exclude.clone(),
                all: self.rules.all,
            },
        };
        let settings = BuilderSettings { settings, start_ns: started.1, waits: true, copies_unseen: true };
        let builder = ProfileBuilder::new(settings, scope(&self.rules)?);
        self.pace = Arc::new(Pace::new());
        let (pace, interval) = (Arc::clone(&self.pace), self.interval);
        let mut intake = Intake::new(builder, target.pid, self.memory);
        // The clocks of the threads that are there count from here, however late the sampler's own thread comes to run.
        inside.tick(&mut events);
        intake.feed(&mut events);
        let ear = listening.as_ref().map(Listening::ear);
        let notices = unheard.into_iter().collect();
        // Before its thread runs: a function that begins meanwhile belongs to it.
        let about = About { target, started, notices, tally: Tally::claim() };
        let own_ns = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&own_ns);
        let member = intake.member();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let loop_ = move || {
            let _ = tell.send(this_thread());
            sample(inside, intake, ear, &pace, interval, about, &own)
        };
        let spawn = move || {
            let thread = std::thread::Builder::new().name("rscalene-sampler".to_owned()).spawn(loop_)?;
            Ok((thread, told.recv().unwrap_or(0)))
        };
        let thread = py.detach(|| company::enlist(member, spawn));
        let thread = thread.map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
        let mark = Mark::begin(&self.name, &own_ns);
        self.running = Some(Running { pid: target.pid, thread, listening, mark });
        self.profile = None;
        Ok(())
    }

    fn profile(&self) -> PyResult<&Profile> {
        self.profile.as_ref().ok_or_else(|| {
            let why = if self.running() { "it is still running" } else { "it was never run" };
            PyRuntimeError::new_err(format!("this profiler has nothing to report, {why}\nhint: call stop() first"))
        })
    }

    /// In a forked child there is no thread that would ever end.
    fn forget_parents(&mut self) {
        if self.running.as_ref().is_some_and(|running| running.pid != std::process::id()) {
            std::mem::forget(self.running.take());
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.forget_parents();
        // The thread ends by itself; nobody waits for its profile.
        self.pace.tell(State::Stop);
    }
}

/// Folders of the standard library and of what is installed beside it.
fn interpreters_folders(py: Python<'_>) -> PyResult<&'static [String]> {
    static KNOWN: PyOnceLock<Vec<String>> = PyOnceLock::new();
    let ask = || {
        let paths = py.import("sysconfig")?.call_method0("get_paths")?;
        ["stdlib", "platstdlib", "purelib", "platlib"].iter().map(|name| paths.get_item(name)?.extract()).collect()
    };
    Ok(KNOWN.get_or_try_init(py, ask)?)
}

fn scope(rules: &ScopeRules) -> PyResult<Scope> {
    Scope::new(rules.clone()).map_err(|bad| PyValueError::new_err(bad.to_string()))
}

/// This process, as the remote reader wants to know it.
fn target() -> Target {
    let at = |name| symbols::address(name) as u64;
    let version = symbols::address(c"Py_Version").cast::<libc::c_ulong>();
    // SAFETY: null, or the interpreter's constant of this type (3.11 and later).
    let version = unsafe { version.as_ref() }.copied().unwrap_or(0);
    Target {
        pid: std::process::id(),
        runtime: at(c"_PyRuntime"),
        code_type: at(c"PyCode_Type"),
        version: u32::try_from(version).unwrap_or(0),
        forked: None,
    }
}

fn this_thread() -> u32 {
    // SAFETY: gettid takes nothing.
    (unsafe { libc::gettid() }) as u32
}

/// What the profile says of itself.
struct About {
    target: Target,
    started: (SystemTime, u64),
    notices: Vec<String>,
    /// Its samples for `@profile`.
    tally: Option<Tally>,
}

/// The thread: all lookers at their own pace, until it is told to stop.
fn sample(
    mut inside: Inside,
    mut intake: Intake,
    ear: Option<Ear>,
    pace: &Pace,
    interval: Duration,
    about: About,
    own_ns: &AtomicU64,
) -> Profile {
    /// The remote reader's own pace, and the drain's slowest.
    const WAITS: Duration = Duration::from_millis(10);
    let _goes = Goes(pace);
    let About { target, started, notices, mut tally } = about;
    turns::ask_for_short_ones();
    let (mut due, mut jitter, mut apart) = (Instant::now(), Jitter::new(), Apart::new());
    let mut events = Vec::new();
    let own = this_thread();
    let mut waits = Reader::new();
    waits.watch(target, true, &mut events);
    let mut waited_ns = 0;
    loop {
        let state = pace.wanted();
        match state {
            State::Stop => break,
            State::Pause if intake.paused() => {}
            State::Pause => {
                inside.rest(&mut events);
                std::mem::take(&mut waits).finish(&mut events);
            }
            State::Run => {
                if intake.resume() {
                    inside.skip();
                    waits.watch(target, true, &mut events);
                }
                let now = Instant::now();
                if now >= due {
                    due = now + jitter.around(interval);
                    inside.tick(&mut events);
                    if let (Some(apart), Some(tid)) = (&mut apart, inside.busiest()) {
                        apart.keep(tid);
                    }
                }
                let now_ns = proc::monotonic_ns();
                if u128::from(now_ns - waited_ns) >= WAITS.as_nanos() {
                    waits.tick(&mut events);
                    waited_ns = now_ns;
                }
            }
        }
        if let Some(ear) = &ear {
            ear.take(&mut events);
        }
        events.iter().for_each(|event| tally.iter_mut().for_each(|tally| tally.see(event)));
        intake.feed(&mut events);
        if state == State::Pause {
            intake.pause();
        }
        own_ns.store(thread_cpu_ns(own), Relaxed);
        pace.reach(state);
        let pause = match state {
            State::Run => due.saturating_duration_since(Instant::now()),
            _ => interval,
        };
        std::thread::park_timeout(if ear.is_some() { pause.min(WAITS) } else { pause });
    }
    drop(tally);
    if intake.resume() {
        inside.skip();
    }
    inside.finish(&mut events);
    // Even a stretch too short for its thread to run in has a footprint.
    waits.tick(&mut events);
    waits.finish(&mut events);
    if let Some(ear) = ear {
        ear.finish(&mut events);
    }
    intake.feed(&mut events);
    intake.finish(Context {
        tool: model::Tool { version: env!("CARGO_PKG_VERSION").to_owned() },
        target: model::Target {
            command: proc::command_line(target.pid).unwrap_or_default(),
            cwd: std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
            python: None,
            free_threaded: false,
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            pid: target.pid,
            exit: model::Exit::default(),
            allocator: None,
        },
        clock: model::Clock {
            started_at: humantime::format_rfc3339_seconds(started.0).to_string(),
            elapsed_s: Duration::from_nanos(proc::monotonic_ns().saturating_sub(started.1)).as_secs_f64(),
        },
        notices,
        source: &mut |path| {
            let text = source::text(path)?;
            Some(text.lines().map(str::to_owned).collect())
        },
        lookup: &mut |_, _| None,
    })
}
