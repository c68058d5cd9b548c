//! The sampling API's engine: start, stop and report, inside of the program that is profiled.
//!
//! Job: run one thread that samples CPU and waits of all threads of this process, and merge what it saw. Invariant: each
//! sampler has a thread and a merge of its own, so any number may run at once and nest; a stopped one has left nothing
//! behind. Neighbours: `capture::inside` and `capture::remote` look, `profile` merges, `report` prints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::symbols;
use crate::capture::inside::Inside;
use crate::capture::proc;
use crate::capture::remote::{Reader, Target};
use crate::profile::merge::{Ends, Merge, MergeSettings};
use crate::profile::model::{self, Profile};
use crate::profile::scope::{Scope, ScopeRules};
use crate::report::{self, Options, Style, export, json};
use crate::result::ProfileData;
use crate::transport::event::{Body, Event};

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const STOP: u8 = 2;

/// Samples this process. See `rscalene.Profiler`.
#[pyclass(module = "rscalene._rscalene")]
pub(super) struct Sampler {
    interval: Duration,
    rules: ScopeRules,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<Profile>>,
    profile: Option<Profile>,
}

#[pymethods]
impl Sampler {
    /// `interval_s` between two looks; `libraries` are folders out of scope unless `all`; `script` is in scope.
    #[new]
    #[pyo3(signature = (interval_s, *, all=false, include=Vec::new(), exclude=Vec::new(), libraries=Vec::new(), script=None))]
    fn new(
        interval_s: f64,
        all: bool,
        include: Vec<String>,
        exclude: Vec<String>,
        libraries: Vec<String>,
        script: Option<String>,
    ) -> PyResult<Self> {
        let interval = Duration::try_from_secs_f64(interval_s)
            .map_err(|error| PyValueError::new_err(format!("interval: {error}")))?
            .max(Duration::from_micros(100));
        let cwd = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        let rules = ScopeRules { cwd, all, include, exclude, libraries, scripts: script.into_iter().collect() };
        scope(&rules)?;
        Ok(Self { interval, rules, state: Arc::new(AtomicU8::new(STOP)), thread: None, profile: None })
    }

    /// Start sampling; what was recorded before is dropped.
    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.thread.is_some() {
            return Err(PyRuntimeError::new_err("this profiler is running already"));
        }
        let target = target();
        let mut events = Vec::new();
        let interval_ns = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let inside = Inside::new(target, interval_ns, &mut events).map_err(|why| {
            PyRuntimeError::new_err(format!("cannot sample this process, its frames cannot be read: {why:?}"))
        })?;
        let started = (SystemTime::now(), proc::monotonic_ns());
        let settings = model::Settings {
            cpu: model::CpuSettings { source: "timer".to_owned(), interval_s: self.interval.as_secs_f64() },
            memory: model::MemorySettings { mode: "off".to_owned(), interval_bytes: None },
            scope: model::ScopeSettings {
                include: self.rules.include.clone(),
                exclude: self.rules.exclude.clone(),
                all: self.rules.all,
            },
        };
        let mut merge = Merge::new(MergeSettings { settings, start_ns: started.1, waits: true }, scope(&self.rules)?);
        for event in events.drain(..) {
            merge.feed(&event);
        }
        self.state = Arc::new(AtomicU8::new(RUN));
        let (state, interval) = (Arc::clone(&self.state), self.interval);
        let loop_ = move || sample(inside, merge, target, &state, interval, started);
        let thread = py.detach(|| std::thread::Builder::new().name("rscalene-sampler".to_owned()).spawn(loop_));
        let thread = thread.map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
        self.thread = Some(thread);
        self.profile = None;
        Ok(())
    }

    /// Stop sampling and make the profile; does nothing when it is stopped.
    fn stop(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.state.store(STOP, Relaxed);
        thread.thread().unpark();
        let profile = py.detach(|| thread.join());
        self.profile = Some(profile.map_err(|_| PyRuntimeError::new_err("internal error in the sampling thread"))?);
        Ok(())
    }

    /// Stop sampling for a while (`True`), or go on.
    fn pause(&self, paused: bool) {
        if self.thread.is_some() {
            self.state.store(if paused { PAUSE } else { RUN }, Relaxed);
        }
    }

    /// Drop what was recorded.
    fn reset(&mut self) {
        self.profile = None;
    }

    /// Is it running (or paused)?
    #[getter]
    fn running(&self) -> bool {
        self.thread.is_some()
    }

    /// The table as text.
    fn text(&self, unicode: bool, color: bool, width: usize) -> PyResult<String> {
        let style = Style { width: width.max(40), color, unicode };
        let source = |path: &str| std::fs::read_to_string(path).ok();
        Ok(report::render_table(self.profile()?, &Options::default(), &style, &source))
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

    /// The profile as `pstats` reads it from a file.
    fn pstats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &export::pstats(self.profile()?)))
    }

    /// The profile as speedscope reads it.
    fn speedscope(&self) -> PyResult<String> {
        Ok(export::speedscope(self.profile()?))
    }
}

impl Sampler {
    fn profile(&self) -> PyResult<&Profile> {
        self.profile.as_ref().ok_or_else(|| {
            let why = if self.thread.is_some() { "it is still running" } else { "it was never run" };
            PyRuntimeError::new_err(format!("this profiler has nothing to report, {why}\nhint: call stop() first"))
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // The thread ends by itself; nobody waits for its profile.
        self.state.store(STOP, Relaxed);
    }
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
    }
}

/// The thread: both lookers at their own pace, until it is told to stop.
fn sample(
    mut inside: Inside,
    mut merge: Merge,
    target: Target,
    state: &AtomicU8,
    interval: Duration,
    started: (SystemTime, u64),
) -> Profile {
    /// The remote reader's own pace.
    const WAITS: Duration = Duration::from_millis(10);
    let mut events = Vec::new();
    let mut waits = Reader::new();
    waits.watch(target, &mut events);
    // SAFETY: gettid takes nothing.
    let own = unsafe { libc::gettid() } as u32;
    inside.keep_out(own);
    let mut waited_ns = 0;
    let mut paused = false;
    loop {
        match state.load(Relaxed) {
            STOP => break,
            PAUSE => paused = true,
            _ => {
                if std::mem::take(&mut paused) {
                    inside.skip();
                }
                inside.tick(&mut events);
                let now_ns = proc::monotonic_ns();
                if u128::from(now_ns - waited_ns) >= WAITS.as_nanos() {
                    waits.tick(&mut events);
                    waited_ns = now_ns;
                }
            }
        }
        feed(&mut merge, &mut events, own);
        std::thread::park_timeout(interval);
    }
    inside.finish(&mut events);
    waits.finish(&mut events);
    feed(&mut merge, &mut events, own);
    merge.finish(Ends {
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
        notices: Vec::new(),
        source: &mut |path| {
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.lines().map(str::to_owned).collect())
        },
        lookup: &mut |_, _| None,
    })
}

/// What the reader saw of the sampling thread itself is no part of the program.
fn feed(merge: &mut Merge, events: &mut Vec<Event>, own: u32) {
    for event in events.drain(..) {
        let of_own = match &event.body {
            Body::ThreadClock(clock) => clock.tid == own,
            Body::Wait(wait) => wait.tid == own,
            _ => false,
        };
        if !of_own {
            merge.feed(&event);
        }
    }
}
