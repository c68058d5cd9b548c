//! The trial: profiles a small program, and collects the events.
//!
//! Invariant: the trial uses the same arena, drain and outside reader as `run`, so its result holds for `run`. The
//! program computes, allocates and sleeps for about a third of a second in all. Caller: `doctor` judges the result.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crossbeam_channel::{never, unbounded};
use rscalene_wire as wire;

use crate::launch::preload::Shim;
use crate::launch::python_version::Version;
use crate::observe::remote::memory::ProcessMemory;
use crate::observe::remote::{Remote, Target};
use crate::transport::arena::Arena;
use crate::transport::drain::Drain;
use crate::transport::event::{Batch, Body};

/// A program that computes and allocates for 0.2 s, then sleeps for 0.15 s.
const PROGRAM: &str = "\
import time
end = time.perf_counter() + 0.2
while time.perf_counter() < end:
    kept = [bytes(1009) for _ in range(997)]
time.sleep(0.15)
";

/// A program that makes itself unreadable (PR_SET_DUMPABLE 0), as a process that drops its privileges is. The program
/// ends when its standard input ends.
const UNREADABLE: &str = "\
import ctypes, sys
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print(id(None), flush=True)
sys.stdin.read()
";

/// Can the launcher read the memory of a process that has dropped its privileges? `None` if the program did not run.
pub(super) fn reads_without_rights(executable: &Path) -> Option<bool> {
    let mut command = Command::new(executable);
    command.args(["-S", "-E", "-c", UNREADABLE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    let address = line.trim().parse();
    let answer = address.ok().map(|address| ProcessMemory::new(child.id()).probe(address).is_ok());
    drop(child.stdin.take());
    let _ = child.wait();
    answer
}

/// The source of the CPU samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Engine {
    /// No thread announced a source.
    #[default]
    Unknown,
    /// perf task-clock.
    Perf,
    /// Per-thread CPU timers.
    Timer,
}

/// The result of a trial.
#[derive(Clone, Debug, Default)]
pub(super) struct Trial {
    /// The program's exit code was 0.
    pub(super) succeeded: bool,
    /// The standard error of the program.
    pub(super) stderr: String,
    /// Version of the interpreter that loaded the shim.
    pub(super) version: Option<Version>,
    /// Verdict of the shim's self-test.
    pub(super) self_test: Option<wire::Verdict>,
    /// Source of the CPU samples.
    pub(super) engine: Engine,
    /// CPU samples.
    pub(super) cpu_samples: usize,
    /// Allocation samples.
    pub(super) allocations: usize,
    /// A wait with a stack was observed.
    pub(super) waits: bool,
    /// Library of an allocator other than libc's.
    pub(super) allocator: Option<String>,
}

impl Trial {
    /// Runs the small program under `executable`.
    pub(super) fn run(shim: &Shim, executable: &Path) -> io::Result<Self> {
        let settings = wire::Settings {
            cpu_mode: wire::CpuMode::ANY,
            memory_mode: wire::MemoryMode::SAMPLED,
            cpu_interval_ns: 1_000_000,
            memory_interval_bytes: 64 * 1024,
            memory_adaptive: wire::Switch::ON,
            copy_volume: wire::Switch::ON,
            seed: 1,
            ..wire::Settings::default()
        };
        let arena = Arc::new(Arena::create(settings, 16, 4 << 20)?);
        let (sender, events) = unbounded::<Batch>();
        let remote = Arc::new(Remote::start(sender.clone())?);
        let drain = Drain::start(Arc::clone(&arena), sender, never(), |_| None, {
            let remote = Arc::clone(&remote);
            move |pid, start| {
                remote.watch(Target::armed(pid, start));
            }
        })?;
        let mut child = Command::new(executable)
            .args(["-c", PROGRAM])
            .env("LD_PRELOAD", shim.preload(std::env::var_os("LD_PRELOAD").as_deref()))
            .env(wire::ARENA_ENV, arena.address())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut trial = Self::default();
        if let Some(mut stderr) = child.stderr.take() {
            let mut said = Vec::new();
            stderr.read_to_end(&mut said)?;
            trial.stderr = String::from_utf8_lossy(&said).into_owned();
        }
        trial.succeeded = child.wait()?.success();
        drain.finish();
        remote.stop();
        for event in events.try_iter().flatten() {
            trial.note(&event.body);
        }
        Ok(trial)
    }

    fn note(&mut self, body: &Body) {
        match body {
            Body::ProcessStart(start) => self.version = Some(Version(start.python_version)),
            Body::SelfTest(test) => self.self_test = Some(test.verdict),
            Body::ThreadStart(start) => {
                self.engine = match start.source {
                    wire::Source::PERF_AND_TIMER => Engine::Perf,
                    wire::Source::TIMER => Engine::Timer,
                    _ => self.engine,
                }
            }
            Body::CpuSample { .. } => self.cpu_samples += 1,
            Body::Alloc { .. } => self.allocations += 1,
            Body::Wait(wait) => self.waits |= wait.stack != 0,
            Body::Allocator(library) => self.allocator = Some(library.clone()),
            _ => {}
        }
    }
}
