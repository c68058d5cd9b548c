//! `rscalene recover`: makes a report from the capture of a killed launcher.
//!
//! Invariant: the command does not change the capture. If the capture is damaged, the report covers the events before
//! the damage and has a notice. Neighbours: `keep` finds captures, `transport::capture` reads them, `view` shows
//! profiles in the same way.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{output, view};
use crate::cli::error::{EXIT_USAGE, Error};
use crate::cli::flags::Recover;
use crate::cli::messages;
use crate::launch::disk::Disk;
use crate::launch::keep::{self, Found, Origin};
use crate::observe::symbols::Symbols;
use crate::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use crate::profile::build::scope::Scope;
use crate::profile::model::{self, Notice, Profile, codes};
use crate::report::Format;
use crate::save;
use crate::transport::capture::{Damage, Reader};
use crate::units;

const LIST: &str = "`rscalene recover --list` shows what is there";

/// Runs the command; returns the exit code.
pub(crate) fn recover(flags: &Recover) -> Result<i32, Error> {
    if flags.list {
        list()?;
        return Ok(0);
    }
    let path = match &flags.capture {
        Some(path) => path.clone(),
        None => keep::found().into_iter().find(|found| !found.running).map(|found| found.path).ok_or_else(nothing)?,
    };
    let file = output::file(flags.output.as_ref());
    let format = file.map_or(Ok(Format::Text), save::format_of)?;
    let profile = profile(&path, flags.show.rendering.no_source, false)?;
    let source = |path: &str| output::source_of(&profile.target, path);
    if let Some(path) = file {
        output::save(&profile, path, format, &flags.show, &source)?;
        messages::tell(&format!("saved {}", path.display()));
        return Ok(0);
    }
    let style = output::style(&flags.show, messages::stdout_is_terminal());
    messages::print(&output::encode(&profile, format, &flags.show, &style, &source))?;
    Ok(0)
}

fn nothing() -> Error {
    let folders: Vec<String> = keep::folders().iter().map(|folder| format!("`{}`", folder.display())).collect();
    let message = format!("there is nothing to recover in {}", folders.join(" or "));
    Error::new(EXIT_USAGE, message, "a capture stays there when `rscalene run` is killed before it can report")
}

fn list() -> Result<(), Error> {
    for Found { path, written, bytes, running } in keep::found() {
        let (origin, _) =
            open(&path).map_or_else(|_| (Origin::default(), None), |(origin, reader)| (origin, Some(reader)));
        let when = humantime::format_rfc3339_seconds(written);
        let state = if running { "still running" } else { "left behind" };
        let command = origin.command.join(" ").escape_debug().to_string();
        messages::print(
            format!("{}  {when}  {}  {state}  {command}\n", path.display(), units::bytes(bytes)).as_bytes(),
        )?;
    }
    Ok(())
}

/// Opens a capture; returns its head and a reader of its events.
pub(super) fn open(path: &Path) -> Result<(Origin, Reader<File>), Error> {
    let refuse =
        |why: &str, hint: &str| Error::new(EXIT_USAGE, format!("cannot read `{}`: {why}", path.display()), hint);
    let file = File::open(path).map_err(|error| refuse(&view::why(&error), LIST))?;
    let opened = Reader::open::<Origin>(file);
    opened.map(|(reader, origin)| (origin, reader)).map_err(|damage| match damage {
        Damage::Foreign => refuse("it is no capture of rscalene", LIST),
        Damage::OtherVersion => refuse("another version of rscalene made it", "use the version that recorded it"),
        Damage::CutOff | Damage::Corrupt => refuse("it is damaged at its beginning", LIST),
        Damage::Unreadable(kind) => refuse(&kind.to_string(), LIST),
    })
}

/// The profile of a capture. If the launcher still writes the capture (`running`), this is the profile so far.
pub(super) fn profile(path: &Path, no_source: bool, running: bool) -> Result<Profile, Error> {
    let (origin, reader) = open(path)?;
    let bad = |why: String| Error::new(EXIT_USAGE, format!("cannot read `{}`: {why}", path.display()), LIST);
    let scope = Scope::new(origin.scope).map_err(|error| bad(error.to_string()))?.with_files(Arc::new(Disk::default()));
    let mut builder = ProfileBuilder::new(
        BuilderSettings { settings: origin.settings, start_ns: origin.start_ns, waits: true, in_process: false },
        scope,
    );
    let damage = reader.events(&mut |event| builder.feed(&event));
    let elapsed = Duration::from_nanos(builder.now_ns().saturating_sub(origin.start_ns));
    let mut notices = Vec::new();
    if running {
        notices.push(Notice::of_run(codes::SO_FAR, "the program still runs: this is the profile so far"));
    } else {
        let text = format!(
            "recovered from a capture: rscalene ended before it could report, and what happened after {} is not known",
            units::seconds(elapsed.as_secs_f64())
        );
        notices.push(Notice::of_run(codes::RECOVERED, text));
    }
    // A capture that is still being written may end in the middle of an event.
    let damage = damage.filter(|damage| !(running && matches!(damage, Damage::CutOff)));
    let damage = damage.map(|damage| match damage {
        Damage::CutOff => "the capture ends in the middle: what is missing there is not in this report".to_owned(),
        Damage::Unreadable(kind) => format!("the capture could not be read to its end: {kind}"),
        _ => "the capture is damaged: what follows the damage is not in this report".to_owned(),
    });
    notices.extend(damage.map(|text| Notice::of_run(codes::CAPTURE_DAMAGED, text)));
    let mut symbols = Symbols::new(HashMap::new());
    let target = model::Target {
        command: origin.command,
        cwd: origin.cwd,
        platform: output::platform(),
        pid: origin.pid,
        ..model::Target::default()
    };
    let text = |path: &str| output::source_of(&target, path).filter(|_| !no_source);
    Ok(builder.finish(Context {
        tool: model::Tool { version: origin.version },
        target: target.clone(),
        clock: model::Clock { started_at: origin.started_at, elapsed_s: elapsed.as_secs_f64(), program_s: None },
        notices,
        source: &mut |path| text(path).map(|text| output::lines(&text)),
        lookup: &mut |path, offset| symbols.function(path, offset).map(str::to_owned),
    }))
}
