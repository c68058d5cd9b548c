//! The engine of the sampling API: starts, stops and reports samplers inside of the profiled program.
//!
//! Job: give Python the calls, and keep a list of the running samplers for the time of a fork. Invariants: each sampler
//! has its own threads and builder, so any number of samplers may run at once and nest. A stopped sampler leaves no
//! thread and no hook. While the process forks, and in a forked child, no sampler has a thread. Neighbours: `pair` runs
//! the threads, `looking` looks, `bindings::profile` renders.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::intake::Intake;
use super::looking::{About, Looking};
use super::pair::{Pair, View};
use super::subscription::{self, SectionGuard, Subscription};
use crate::bindings::label_listeners::{self, LabelReceiver};
use crate::bindings::profile::ProfileData;
use crate::bindings::symbols;
use crate::lines::engine::split::Tally;
use crate::lines::engine::threads::keep_bytes_out;
use crate::observe::looks::Inside;
use crate::observe::proc;
use crate::observe::remote::Target;
use crate::profile::build::builder::{BuilderSettings, ProfileBuilder};
use crate::profile::build::scope::{Scope, ScopeRules};
use crate::profile::model::{self, Profile};

/// Samples this process. See `rscalene.Profiler`.
#[pyclass(module = "rscalene._rscalene")]
pub(crate) struct Sampler {
    interval: Duration,
    rules: ScopeRules,
    memory: bool,
    name: String,
    running: Option<Running>,
    profile: Option<Arc<Profile>>,
}

/// The state of a running sampler.
struct Running {
    /// The process that started the sampler.
    pid: u32,
    /// The sampler's number among the running samplers.
    member: u64,
    subscription: Option<Subscription>,
    /// The sampler's section in the profile of `rscalene run`.
    mark: Option<SectionGuard>,
}

#[pymethods]
impl Sampler {
    /// Make a sampler that looks every `interval_s` seconds. `libraries` are folders out of scope, in addition to the
    /// interpreter's, unless `all`. `script` is in scope. `memory` samples allocations. `name` names the section under
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
        Ok(Self { interval, rules, memory, name, running: None, profile: None })
    }

    /// Start sampling. The earlier recording is dropped.
    fn start(&mut self, py: Python<'_>) -> PyResult<()> {
        self.forget_parents(py);
        if self.running.is_some() {
            return Err(PyRuntimeError::new_err("this profiler is running already"));
        }
        keep_bytes_out(|| self.begin(py))
    }

    /// Stop sampling and make the profile. A stopped sampler stays stopped.
    fn stop(&mut self, py: Python<'_>) -> PyResult<()> {
        self.forget_parents(py);
        let Some(running) = self.running.take() else { return Ok(()) };
        self.profile = Some(Arc::new(keep_bytes_out(|| running.end(py))?));
        Ok(())
    }

    /// Stop sampling for a while (`True`), or go on. The change has taken effect when the call returns.
    fn pause(&mut self, py: Python<'_>, paused: bool) {
        self.forget_parents(py);
        let Some(running) = &self.running else { return };
        if let Some(subscription) = &running.subscription {
            subscription.pause(paused);
        }
        let member = running.member;
        keep_bytes_out(|| {
            let pausing = self::running(py).borrow().get(&member).map(|pair| pair.pausing(paused));
            if let Some(pausing) = pausing {
                py.detach(pausing);
            }
        });
    }

    /// Return the profile so far, while sampling goes on.
    fn snapshot(&mut self, py: Python<'_>) -> PyResult<ProfileData> {
        self.forget_parents(py);
        let Some(running) = &self.running else { return self.result() };
        let member = running.member;
        let profile = keep_bytes_out(|| {
            let snapshotting = self::running(py).borrow().get(&member).map(Pair::snapshotting);
            snapshotting.and_then(|snapshotting| py.detach(snapshotting))
        });
        let profile = profile.ok_or_else(|| PyRuntimeError::new_err("internal error in the sampling thread"))?;
        Ok(ProfileData::of(Arc::new(profile)))
    }

    /// Drop the recording.
    fn reset(&mut self) {
        self.profile = None;
    }

    /// True while the sampler is running or paused.
    #[getter]
    fn running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.pid == std::process::id())
    }

    /// Stop sampling memory in all samplers. Called when the interpreter ends, and in a forked child.
    #[staticmethod]
    fn unhook(py: Python<'_>) {
        subscription::unhook(py);
    }

    /// End the threads of all samplers before a fork (`True`), or start them again after the fork. Without them, the
    /// interpreter counts only the program's own threads, and the child lacks no sampler thread.
    #[staticmethod]
    fn fork(py: Python<'_>, begins: bool) {
        for pair in running(py).borrow_mut().values_mut() {
            if begins {
                pair.leave();
            } else {
                // If no thread can start, sampling ends here, and `stop` makes the profile of the looks so far.
                let _ = pair.begin();
            }
        }
    }

    /// Forget all samplers in a forked child.
    #[staticmethod]
    fn forked(py: Python<'_>) {
        std::mem::forget(std::mem::take(&mut *running(py).borrow_mut()));
        label_listeners::forked(py);
        subscription::unhook(py);
    }

    /// Return the profile of the last recording.
    fn result(&self) -> PyResult<ProfileData> {
        let profile = self.profile.as_ref().ok_or_else(|| {
            let why = if self.running() { "it is still running" } else { "it was never run" };
            PyRuntimeError::new_err(format!("this profiler has nothing to report, {why}\nhint: call stop() first"))
        })?;
        Ok(ProfileData::of(Arc::clone(profile)))
    }
}

impl Running {
    fn end(self, py: Python<'_>) -> PyResult<Profile> {
        let Self { member, subscription, mark, .. } = self;
        drop(mark);
        if let Some(mut subscription) = subscription {
            subscription.leave(py);
        }
        let pair = running(py).borrow_mut().remove(&member);
        let profile = py.detach(|| pair.and_then(Pair::stop));
        profile.ok_or_else(|| PyRuntimeError::new_err("internal error in the sampling thread"))
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
        let answer = if self.memory { Some(subscription::subscribe(py)?) } else { None };
        let (subscription, missed) = match answer {
            Some(Ok(subscription)) => (Some(subscription), None),
            Some(Err(why)) => (None, Some(format!("memory by line is not known: {why}"))),
            None => (None, None),
        };
        let started = (SystemTime::now(), proc::monotonic_ns());
        let mode = if subscription.is_some() { "sampled" } else { "off" };
        let settings = model::Settings {
            cpu: model::CpuSettings { source: "timer".to_owned(), interval_s: self.interval.as_secs_f64() },
            memory: model::MemorySettings { mode: mode.to_owned(), interval_bytes: None },
            scope: model::ScopeSettings {
                include: self.rules.include.clone(),
                exclude: self.rules.exclude.clone(),
                all: self.rules.all,
            },
        };
        let settings = BuilderSettings { settings, start_ns: started.1, waits: true, in_process: true };
        let builder = ProfileBuilder::new(settings, scope(&self.rules)?);
        let mut intake = Intake::new(builder, target.pid, self.memory);
        // CPU time of the existing threads counts from here, even if the sampler's own threads begin late.
        inside.tick(&mut events);
        intake.feed(&mut events);
        let receiver = subscription.as_ref().map(Subscription::receiver);
        let missed = missed.map(|text| model::Notice::of_run(model::codes::MEMORY_UNKNOWN, text));
        let notices = missed.into_iter().collect();
        // Subscribe before the sampler's threads run: a labelled function that begins in between belongs to the
        // recording.
        let labels = LabelReceiver::begin(py, subscription.as_ref().map(Subscription::table));
        let about = About { target, started, notices, tally: Tally::claim(), labels };
        let own_ns = Arc::new(AtomicU64::new(0));
        let member = intake.member();
        let looking = Looking::new(inside, intake, receiver, self.interval, about);
        let own = Arc::clone(&own_ns);
        let pair = py.detach(|| Pair::start(looking, member, own));
        let pair = pair.map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
        running(py).borrow_mut().insert(member, pair);
        let mark = SectionGuard::begin(&self.name, &own_ns);
        self.running = Some(Running { pid: target.pid, member, subscription, mark });
        self.profile = None;
        Ok(())
    }

    /// Access to the looks of this sampler; `None` if the sampler does not run in this process.
    pub(super) fn view(&self, py: Python<'_>) -> Option<View> {
        let member = self.running.as_ref().filter(|running| running.pid == std::process::id())?.member;
        running(py).borrow().get(&member).map(Pair::view)
    }

    /// In a forked child: drops the handles of the parent's threads without waiting. These threads do not exist in the
    /// child, so a wait would never end.
    fn forget_parents(&mut self, py: Python<'_>) {
        let inherited = self.running.as_ref().is_some_and(|running| running.pid != std::process::id());
        if inherited && let Some(parents) = self.running.take() {
            std::mem::forget(running(py).borrow_mut().remove(&parents.member));
            std::mem::forget(parents);
        }
    }
}

struct Held(RefCell<BTreeMap<u64, Pair>>);
// SAFETY: only reached with the GIL held, because `running` takes a `Python` token.
unsafe impl Sync for Held {}
static RUNNING: Held = Held(RefCell::new(BTreeMap::new()));

/// The threads of all running samplers, by number.
fn running(_held: Python<'_>) -> &'static RefCell<BTreeMap<u64, Pair>> {
    &RUNNING.0
}

impl Drop for Sampler {
    fn drop(&mut self) {
        Python::attach(|py| {
            self.forget_parents(py);
            // The threads end without being joined, because the profile is not needed.
            let pair = self.running.as_ref().and_then(|ours| running(py).borrow_mut().remove(&ours.member));
            drop(pair);
        });
    }
}

/// Folders of the standard library, which contain the installed packages too. Their lines are out of scope even if the
/// folders have unusual names. `sysconfig` would return the folders too, but takes 30 ms to import.
fn interpreters_folders(py: Python<'_>) -> PyResult<&'static [String]> {
    static KNOWN: PyOnceLock<Vec<String>> = PyOnceLock::new();
    let ask = || {
        let mut folders = Vec::new();
        for module in ["os", "sysconfig"] {
            let Ok(file) = py.import("sys")?.getattr("modules")?.get_item(module) else { continue };
            let Ok(file) = file.getattr("__file__").and_then(|file| file.extract::<String>()) else { continue };
            folders.extend(std::path::Path::new(&file).parent().map(|folder| folder.to_string_lossy().into_owned()));
        }
        Ok::<_, PyErr>(folders)
    };
    Ok(KNOWN.get_or_try_init(py, ask)?)
}

fn scope(rules: &ScopeRules) -> PyResult<Scope> {
    Scope::new(rules.clone()).map_err(|bad| PyValueError::new_err(bad.to_string()))
}

/// This process as a target for the remote reader.
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
