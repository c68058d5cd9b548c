//! `rscalene view`: shows a saved profile, or converts it into another format.
//!
//! Invariant: rscalene reads and checks the complete file before showing any of it. The report goes to stdout, since no
//! program runs. Neighbours: `report::json` reads, `report::export` encodes, `output` writes.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{browser, output};
use crate::cli::error::{EXIT_USAGE, Error};
use crate::cli::flags::View;
use crate::cli::messages;
use crate::profile::model::Profile;
use crate::report::{self, Format};
use crate::save;

/// Runs the command; returns the exit code.
pub(crate) fn view(flags: &View) -> Result<i32, Error> {
    let format = format(flags)?;
    if flags.open && output::file(flags.output.as_ref()).is_some() && format != Format::Html {
        let message = format!("cannot open {} in a browser: `--open` goes with HTML", format.name());
        return Err(Error::new(EXIT_USAGE, message, "leave `--open` out, or end the name in `.html`"));
    }
    let mut profile = read(&flags.file)?;
    if flags.show.rendering.no_source {
        drop_source(&mut profile);
    }
    let source = |path: &str| output::source_of(&profile.target, path);
    if let Some(path) = target(flags) {
        output::save(&profile, &path, format, &flags.show, &source)?;
        messages::tell(&match format {
            Format::Pstats => output::saved_pstats(&path, &flags.show),
            _ => format!("saved {}", path.display()),
        });
        if flags.open {
            browser::open(&path)?;
        }
        return Ok(0);
    }
    let terminal = messages::stdout_is_terminal();
    if format == Format::Pstats && terminal {
        let message = "cannot show pstats on a terminal: it is binary";
        return Err(Error::new(EXIT_USAGE, message, "name a file with `-o FILE.pstats`"));
    }
    if format == Format::Text && flags.format.is_none() {
        if !terminal && !flags.show.full {
            messages::tell("rscalene: `--full` prints all tables");
        }
        messages::print(output::table(&profile, &flags.show, terminal, &source).as_bytes())?;
        return Ok(0);
    }
    let style = output::style(&flags.show, terminal);
    messages::print(&output::encode(&profile, format, &flags.show, &style, &source))?;
    Ok(0)
}

/// The format: from `--format`, else from the ending of `-o`, else HTML for `--html` and `--open`, else the table.
fn format(flags: &View) -> Result<Format, Error> {
    match (flags.format, output::file(flags.output.as_ref())) {
        (Some(format), _) => Ok(format),
        (None, Some(path)) => save::format_of(path),
        (None, None) if flags.html || flags.open => Ok(Format::Html),
        (None, None) => Ok(Format::Text),
    }
}

/// The file to write: the file of `-o`, or for `--html` and `--open` an HTML file beside the profile.
fn target(flags: &View) -> Option<PathBuf> {
    let beside = || (flags.html || flags.open).then(|| flags.file.with_extension("html"));
    output::file(flags.output.as_ref()).map(Path::to_owned).or_else(beside)
}

/// Reads a saved profile.
pub(crate) fn read(path: &Path) -> Result<Profile, Error> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| {
        let why = why(&error);
        let hint = "`rscalene run -o FILE.json app.py` writes a profile";
        Error::new(EXIT_USAGE, format!("cannot read `{shown}`: {why}"), hint)
    })?;
    Ok(report::read_any(&shown, file)?)
}

/// Removes the source text of all lines from a profile.
pub(crate) fn drop_source(profile: &mut Profile) {
    profile.files.iter_mut().flat_map(|file| &mut file.lines).for_each(|line| line.source = None);
}

/// Why a file cannot be opened.
pub(crate) fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}
