//! From a recording to a profile, and the reasons why a profile is empty.
//!
//! Job: finish the builder with the facts of the run, and explain an empty profile. Invariant: nothing is printed or
//! written here. Neighbours: `record` made the recording, `super` reports the profile.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::record::{Recorded, Taking};
use crate::cli::argv::{Program, misplaced};
use crate::cli::error::{EXIT_NO_PROFILE, Error};
use crate::cli::flags::run_command;
use crate::commands::output::{ReadSource, lines, platform};
use crate::launch::file_sources::FileSources;
use crate::launch::inline_source::{self, StdinText};
use crate::launch::not_preloaded::NotPreloaded;
use crate::launch::notebooks;
use crate::launch::{program, python_version};
use crate::observe::symbols::Symbols;
use crate::observe::{proc, rank};
use crate::profile::build::builder::Context;
use crate::profile::build::interpreter::Refused;
use crate::profile::model::{self, Notice, Profile, codes};
use crate::report::export::Format;
use crate::source;
use crate::transport::arena::Arena;
use crate::units;

/// Was the profile cut off before anything was sampled?
pub(super) fn nothing_was_seen(profile: &Profile) -> bool {
    profile.clock.program_s.is_some() && profile.totals.cpu_samples == 0 && profile.totals.alloc_samples == 0
}

/// Says that no process counted its queries.
pub(super) fn sql_uncounted() -> Notice {
    let why = "no process counted its queries: the options -I, -E and -S of Python, and an environment that the program \
               makes itself, keep the hooks out";
    Notice::of_run(codes::SQL_UNCOUNTED, why)
}

/// Explains an empty profile that `--duration` cut off early.
pub(super) fn nothing_yet(duration: Duration) -> Error {
    let duration = units::seconds(duration.as_secs_f64());
    let why = format!("nothing was profiled: no Python was at work yet when `--duration` ({duration}) was over");
    Error::new(EXIT_NO_PROFILE, why, "name a longer `--duration`: an interpreter takes 10 to 50 ms to start")
}

/// Explains a profile without lines, with a hint: no Python ran, its build (`refused`) is not supported, or the shim
/// did not reach it (`not_preloaded`).
pub(super) fn unprofiled(
    profile: &Profile,
    executable: &Path,
    refused: Option<Refused>,
    not_preloaded: Option<&NotPreloaded>,
) -> Option<Error> {
    let supported = python_version::SUPPORTED;
    let error = |what, why, hint| Some(Error::new(EXIT_NO_PROFILE, format!("{what} was profiled: {why}"), hint));
    if let Some(refused) = refused.filter(|_| profile.files.is_empty()) {
        return match refused {
            Refused::Version(Some(version)) => error(
                "nothing",
                format!("Python {version} is not supported"),
                format!("{supported}: `rscalene run --python PATH ...` names another interpreter"),
            ),
            Refused::Version(None) => error("nothing", "this Python is not supported".to_owned(), supported.to_owned()),
            Refused::Build(build) => error(
                "no line",
                format!("this build of {build} is not supported, and there are only totals"),
                format!("use a regular build (`rscalene run --python PATH ...`); {supported}"),
            ),
        };
    }
    if profile.target.python.is_some() {
        return None;
    }
    // No shim answered: no Python ran, or a preload does not reach the program.
    let seen = program::unreachable(executable).or_else(|| not_preloaded.map(NotPreloaded::reason_and_hint));
    let elsewhere = profile.notices.iter().any(|notice| notice.code == codes::OTHER_NAMESPACE);
    let (why, hint) =
        seen.or_else(|| elsewhere.then(|| NotPreloaded::Sandboxed.reason_and_hint())).unwrap_or_else(|| {
            let hint = format!("`rscalene doctor` tells what works here; {supported}");
            ("no Python was seen in the program".to_owned(), hint)
        });
    error("nothing", why, hint)
}

/// Explains that an option of rscalene stands behind the program's name, if the program did not take the option: the
/// program ended with an exit code for usage errors, or the file of `-o` does not exist.
pub(super) fn misplaced_option(typed: &Program, code: i32) -> Option<Error> {
    // argparse and click, pytest, and sysexits.h.
    const BY_USAGE: [i32; 3] = [2, 4, 64];
    let found = misplaced(&run_command(), typed)?;
    let unwritten = found.file.as_deref().filter(|file| Format::of(file).is_some() && !file.exists());
    if !BY_USAGE.contains(&code) && unwritten.is_none() {
        return None;
    }
    let (option, program) = (found.option, found.program);
    let value = found.file.map(|file| format!(" {}", file.display())).unwrap_or_default();
    let why = format!("`{option}` stands behind `{program}`, so the program got it, not rscalene");
    let hint = format!("an option of rscalene stands before the program: `rscalene run {option}{value} {program} ...`");
    Some(Error::new(code, why, hint))
}

/// Counts of the recorded samples, and the launcher's own CPU time so far.
pub(super) fn effort(profile: &Profile) -> String {
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

/// Facts of a run beside the recording.
pub(super) struct Facts {
    /// When the program was started: by the wall clock, and as `CLOCK_MONOTONIC` nanoseconds.
    pub(super) started: (SystemTime, u64),
    /// Process id of the program.
    pub(super) pid: u32,
    /// Its command line.
    pub(super) command: Vec<String>,
    /// The folder that it was started in.
    pub(super) cwd: String,
    /// The text of a program that came through standard input.
    pub(super) stdin_text: StdinText,
}

impl Facts {
    /// The start, RFC 3339.
    pub(super) fn started_at(&self) -> String {
        humantime::format_rfc3339_seconds(self.started.0).to_string()
    }

    /// The name of the notebook's cell behind a file name of its kernel.
    fn cell(&self, path: &str) -> Option<String> {
        notebooks::name(&self.command, &self.cwd, path)
    }

    /// The program, as windows of its profile name it.
    pub(super) fn target(&self) -> model::Target {
        model::Target { pid: self.pid, command: self.command.clone(), ..model::Target::default() }
    }

    /// The text of a source file: typed, or read while the program ran, else read now.
    pub(super) fn source(&self, sources: Option<&FileSources>, path: &str) -> Option<String> {
        let typed = || self.stdin_text.text(path).or_else(|| inline_source::on_command_line(&self.command, path));
        let cell = || notebooks::text(&self.cell(path).unwrap_or_else(|| path.to_owned()));
        typed().or_else(|| sources?.text(path)).or_else(cell).or_else(|| source::text(path))
    }
}

/// The profile of a recording. `text` gives source text by path; `None`: the profile keeps no source.
pub(super) fn finish(recorded: Recorded, facts: &Facts, arena: &Arena, text: Option<ReadSource<'_>>) -> Profile {
    let Recorded { taken: Taking { builder, .. }, ended, ended_ns, inodes, .. } = recorded;
    let mut notices = Vec::new();
    for (count, code, which) in [
        (arena.refused(), codes::NO_ROOM, "that found no room in the shared memory"),
        (arena.elsewhere().into(), codes::OTHER_NAMESPACE, "in PID namespaces of their own, as in a sandbox"),
    ] {
        if count > 0 {
            let text = format!("processes {which}: {count}; they were not profiled");
            notices.push(Notice::of_run(code, text));
        }
    }
    let mut symbols = Symbols::new(inodes);
    let target = model::Target {
        command: facts.command.clone(),
        cwd: facts.cwd.clone(),
        python: None,
        free_threaded: false,
        platform: platform(),
        pid: facts.pid,
        exit: model::Exit { code: ended.code, signal: ended.signal },
        allocator: None,
        attached: None,
        host: rank::host(),
        rank: rank::rank(),
    };
    let mut source = |path: &str| text?(path).map(|text| lines(&text));
    let mut profile = builder.finish(Context {
        tool: model::Tool { version: env!("CARGO_PKG_VERSION").to_owned() },
        target,
        clock: model::Clock {
            started_at: facts.started_at(),
            elapsed_s: Duration::from_nanos(ended_ns.saturating_sub(facts.started.1)).as_secs_f64(),
            program_s: None,
        },
        notices,
        source: &mut source,
        lookup: &mut |path, offset| symbols.function(path, offset).map(str::to_owned),
    });
    for file in &mut profile.files {
        if let Some(cell) = facts.cell(&file.path) {
            file.path = cell;
        }
    }
    profile
}
