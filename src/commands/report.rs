//! `rscalene report`: shows the profile so far of a program under `rscalene run`.
//!
//! Job: read the capture of the running launcher, which is complete up to the last second, and report it. Invariant:
//! the command sends nothing to the launcher or to the program, so neither is disturbed. Neighbours: `recover` reads
//! captures, `output` shows profiles.

use std::path::PathBuf;
use std::time::Duration;

use super::attach::{asked_to_end, heed_requests_to_end};
use super::{output, recover};
use crate::cli::error::{EXIT_NO_PROFILE, Error};
use crate::cli::flags::Report;
use crate::cli::messages::{print, stdout_is_terminal, tell};
use crate::launch::keep;
use crate::observe::proc;
use crate::save;

/// Longest time until the loop notices a request to end.
const STEP: Duration = Duration::from_millis(100);

/// Runs the command; returns the exit code.
pub(crate) fn report(flags: &Report) -> Result<i32, Error> {
    let capture = capture_of(flags.pid)?;
    output::check(flags.output.as_slice())?;
    let Some(every) = flags.every else {
        write(flags, &capture)?;
        return Ok(0);
    };
    heed_requests_to_end();
    // The launcher removes the capture after its report.
    while capture.exists() && !asked_to_end() {
        write(flags, &capture)?;
        let mut left = every;
        while !left.is_zero() && capture.exists() && !asked_to_end() {
            std::thread::sleep(left.min(STEP));
            left = left.saturating_sub(STEP);
        }
    }
    Ok(0)
}

fn write(flags: &Report, capture: &std::path::Path) -> Result<(), Error> {
    let profile = recover::profile(capture, flags.show.rendering.no_source, true)?;
    let source = |path: &str| output::source_of(&profile.target, path);
    match output::file(flags.output.as_ref()) {
        Some(path) => {
            output::save(&profile, path, save::format_of(path)?, &flags.show, &source)?;
            tell(&format!("saved {}", path.display()));
        }
        None => print(output::table(&profile, &flags.show, stdout_is_terminal(), &source).as_bytes())?,
    }
    Ok(())
}

/// The capture of the launcher with process id `pid`, or of the launcher whose program is process `pid` or an ancestor
/// of it.
fn capture_of(pid: u32) -> Result<PathBuf, Error> {
    let running = keep::found().into_iter().filter(|found| found.running);
    let mut known: Vec<(u32, PathBuf)> =
        running.filter_map(|found| Some((recover::open(&found.path).ok()?.0.pid, found.path))).collect();
    let parent = |pid: u32| proc::stat(pid).map(|stat| stat.parent).unwrap_or(0);
    let mut at = pid;
    while at > 1 {
        if let Some(place) = known.iter().position(|(program, _)| *program == at || parent(*program) == at) {
            return Ok(known.swap_remove(place).1);
        }
        at = parent(at);
    }
    let message = if proc::stat(pid).is_err() {
        format!("there is no process {pid}")
    } else {
        format!("process {pid} does not run under `rscalene run`, or records no capture (`--no-capture`)")
    };
    Err(Error::new(EXIT_NO_PROFILE, message, format!("`rscalene attach {pid}` profiles any Python process")))
}
