//! The plan of a run, made of the flags before anything is started.
//!
//! Job: resolve and check everything that can be refused before the program starts, and turn flags into the settings of
//! the shim, the builder and the report. Invariant: a plan is made once and never changes; this file starts, writes and
//! prints nothing. Neighbours: `cli::flags` holds the typed options, `super` carries the plan out.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rscalene_wire as wire;

use crate::cli::argv::Program;
use crate::cli::error::{EXIT_USAGE, Error};
use crate::cli::flags::{CpuSource, MemoryMode, Run};
use crate::commands::names;
use crate::commands::output::{self, Wanted};
use crate::launch::disk::Disk;
use crate::launch::preload::{self, Shim, refuse_foreign_proc, refuse_sanitizers};
use crate::launch::program::{self, Start};
use crate::launch::python_version;
use crate::observe::rank;
use crate::profile::build::scope::{Scope, ScopeRules};
use crate::profile::model;
use crate::push::server::{Address, Server};

/// Ring bytes of a process: a tenth of a second of a busy program.
const RING_CPU: usize = 2 << 20;
const RING_MEMORY: usize = 4 << 20;
const RING_EXACT: usize = 8 << 20;

/// All decisions about a run, made before its program starts.
pub(super) struct RunPlan<'a> {
    /// The program as it was typed.
    pub(super) typed: Program,
    /// The program to start.
    pub(super) start: Start,
    /// The folder that the program starts in.
    pub(super) cwd: PathBuf,
    /// Whose lines are reported, as globs.
    pub(super) rules: ScopeRules,
    /// The same, ready to ask.
    pub(super) scope: Scope,
    /// `LD_PRELOAD` of the program.
    pub(super) preload: OsString,
    /// Settings of the shims.
    pub(super) shim: wire::Settings,
    /// Bytes of each ring.
    pub(super) ring: usize,
    /// The settings as the profile shows them.
    pub(super) settings: model::Settings,
    /// Stop recording after this time.
    pub(super) duration: Option<Duration>,
    /// Write a capture, for `rscalene recover`.
    pub(super) capture: bool,
    /// Keep the text of source lines.
    pub(super) source: bool,
    /// Send the profile to this server at intervals.
    pub(super) push: Option<(Server, Duration)>,
    /// Count queries of databases.
    pub(super) sql: bool,
    /// Print the command that starts and the counts of the recording.
    pub(super) verbose: bool,
    /// This is a rank that `--ranks` leaves out: the program runs without a profile.
    pub(super) unprofiled: bool,
    /// The files of `-o`, but for the process id.
    output: Vec<PathBuf>,
    flags: &'a Run,
}

impl<'a> RunPlan<'a> {
    /// The plan for `typed`, run by `interpreter` unless `--python` names another.
    ///
    /// # Errors
    /// The program does not exist, a file of `-o` cannot be written, a glob is malformed, or this system or the
    /// interpreter cannot be profiled.
    pub(super) fn new(flags: &'a Run, typed: Program, interpreter: &Path) -> Result<Self, Error> {
        let (host, rank) = (rank::host(), rank::rank());
        let output: Vec<PathBuf> = flags.output.iter().map(|path| names::placed(path, host.as_deref(), rank)).collect();
        let unprofiled = rank.zip(flags.ranks.as_ref()).is_some_and(|(rank, ranks)| !ranks.contains(rank));
        if !unprofiled {
            output::check(&output.iter().map(|path| names::with_pid(path, 0)).collect::<Vec<_>>())?;
        }
        let start = program::resolve(&typed, flags.python.as_deref().unwrap_or(interpreter))?;
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let rules = rules(flags, &cwd, &start);
        let scope = Scope::new(rules.clone())
            .map_err(|bad| Error::new(EXIT_USAGE, bad.to_string(), "globs look like `src/**/*.py`"))?
            .with_files(Arc::new(Disk::default()));
        let push = flags.push.address(&typed.name(), host).map(|address| server(&address)).transpose()?;
        let shim = Shim::find()?;
        let preloaded = std::env::var_os("LD_PRELOAD");
        refuse_sanitizers(preloaded.as_deref())?;
        refuse_foreign_proc()?;
        if !unprofiled {
            python_version::refuse_unsupported(&start, interpreter)?;
        }
        Ok(Self {
            preload: shim.preload(preloaded.as_deref()),
            shim: settings(flags),
            ring: match flags.memory {
                MemoryMode::Off => RING_CPU,
                MemoryMode::Sampled => RING_MEMORY,
                MemoryMode::Exact => RING_EXACT,
            },
            settings: model_settings(flags),
            duration: flags.duration,
            capture: !flags.no_capture,
            source: !flags.show.rendering.no_source,
            push: push.map(|server| (server, flags.push.push_every.max(Duration::from_secs(1)))),
            sql: flags.sql,
            verbose: flags.verbose,
            typed,
            start,
            cwd,
            rules,
            scope,
            unprofiled,
            output,
            flags,
        })
    }

    /// Variables that the program gets in its environment; `arena` is the address of the shared memory.
    pub(super) fn variables(&self, arena: OsString) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("LD_PRELOAD", self.preload.clone()), (wire::ARENA_ENV, arena)];
        if let Some(package) = self.sql.then(preload::package).flatten() {
            // The interpreter imports `sitecustomize` from there on its start.
            let mut path = package.join("sql/start").into_os_string();
            if let Some(before) = std::env::var_os("PYTHONPATH").filter(|before| !before.is_empty()) {
                path.push(":");
                path.push(before);
            }
            variables.push(("PYTHONPATH", path));
        }
        variables
    }

    /// The program's command line.
    pub(super) fn command(&self) -> Vec<String> {
        let shown = |word: &OsString| OsStr::to_string_lossy(word).into_owned();
        self.start.argv.iter().map(shown).collect()
    }

    /// Must nothing be printed beside the program's own output?
    pub(super) fn is_quiet(&self) -> bool {
        self.flags.quiet
    }

    /// The files of `-o` for the program's process id.
    pub(super) fn output(&self, pid: u32) -> Vec<PathBuf> {
        self.output.iter().map(|path| names::with_pid(path, pid)).collect()
    }

    /// The report of a run that began at `started`; `name` is the program's short name.
    pub(super) fn report<'r>(&'r self, name: &'r str, output: &'r [PathBuf], started: SystemTime) -> Wanted<'r> {
        let Run { open, quiet, show, .. } = self.flags;
        Wanted { output, open: *open, quiet: *quiet, show, name, started }
    }
}

fn server(address: &Address) -> Result<Server, Error> {
    Server::new(address)
        .map_err(|why| Error::new(EXIT_USAGE, format!("cannot push: {why}"), "as in `--push http://127.0.0.1:4040`"))
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
        cpu_interval_ns: flags.interval.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        memory_interval_bytes: 64 * 1024,
        memory_adaptive: wire::Switch::ON,
        copy_volume: wire::Switch::from_bool(memory != MemoryMode::Off),
        follow_children: wire::Switch::from_bool(!flags.no_children),
        ..wire::Settings::default()
    }
}

fn rules(flags: &Run, cwd: &Path, start: &Start) -> ScopeRules {
    let folders = ["site-packages", "dist-packages"];
    // The hooks of `--sql` are frames of the program, and no line of its own.
    let hooks = preload::package().filter(|_| flags.sql).map(|package| globset::escape(&package.to_string_lossy()));
    let installed = |package| folders.map(|folder| format!("**/{folder}/{package}"));
    let own = start.package.iter().flat_map(|package| installed(package).into_iter().chain(on_path(package)));
    let own = own.flat_map(|place| [format!("{place}.py"), place]);
    ScopeRules {
        cwd: cwd.to_string_lossy().into_owned(),
        all: flags.scope.all,
        include: flags.scope.include.iter().cloned().chain(own).collect(),
        exclude: flags.scope.exclude.iter().cloned().chain(hooks).collect(),
        libraries: Vec::new(),
        scripts: start.script.as_deref().map(|path| path.to_string_lossy().into_owned()).into_iter().collect(),
    }
}

/// Globs of the places where `PYTHONPATH` has the package: `pip install --target` puts packages anywhere.
fn on_path(package: &str) -> Vec<String> {
    let path = std::env::var_os("PYTHONPATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter_map(|folder| std::path::absolute(folder).ok())
        .map(|folder| globset::escape(&folder.join(package).to_string_lossy()))
        .collect()
}

fn model_settings(flags: &Run) -> model::Settings {
    let memory = flags.memory;
    model::Settings {
        cpu: model::CpuSettings {
            source: "timer".to_owned(),
            interval_s: flags.interval.map_or(0.0, |time| time.as_secs_f64()),
        },
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
