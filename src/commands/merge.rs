//! `rscalene merge`: makes a profile from many.
//!
//! Invariant: memory holds a single profile and the sum; a message names each file that cannot be merged, and all other
//! files are merged. The exit code is 0 if any profile could be read. Neighbours: `profile::merge` adds, `output` shows
//! and saves.

use std::fs;
use std::path::{Path, PathBuf};

use super::{output, view};
use crate::cli::error::{EXIT_USAGE, Error};
use crate::cli::flags::Merge;
use crate::cli::messages;
use crate::profile::merge::{Merging, NotAdded};
use crate::report::{self, Format};
use crate::{save, units};

/// Runs the command; returns the exit code.
pub(crate) fn merge(flags: &Merge) -> Result<i32, Error> {
    let file = output::file(flags.output.as_ref());
    let format = file.map(save::format_of).transpose()?;
    output::check(flags.output.as_slice())?;
    let files = files(&flags.profiles, file)?;
    let mut merging = Merging::new();
    for path in &files {
        if let Err(why) = add(&mut merging, path) {
            messages::tell(&format!("rscalene: {why}"));
        }
    }
    let runs = merging.runs();
    if runs == 0 {
        let hint = "give profiles that `rscalene run -o NAME.json` wrote, or a folder of them";
        return Err(Error::new(EXIT_USAGE, "cannot merge: no profile could be read", hint));
    }
    let mut profile = merging.finish(flags.by);
    if flags.show.rendering.no_source {
        view::drop_source(&mut profile);
    }
    let source = |path: &str| output::source_of(&profile.target, path);
    let count = units::count(runs as u64);
    if let (Some(path), Some(format)) = (file, format) {
        output::save(&profile, path, format, &flags.show, &source)?;
        let shown = path.display();
        let hint = if format == Format::Json { format!("; `rscalene view {shown}` shows it") } else { String::new() };
        let runs = if runs == 1 { "run" } else { "runs" };
        messages::tell(&format!("merged {count} {runs} into {shown}{hint}"));
        return Ok(0);
    }
    let terminal = messages::stdout_is_terminal();
    messages::print(output::table(&profile, &flags.show, terminal, &source).as_bytes())?;
    Ok(0)
}

/// Adds a file. The error says why the file is left out.
fn add(merging: &mut Merging, path: &Path) -> Result<(), String> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|error| format!("cannot read `{name}`: {}", view::why(&error)));
    let read = file.and_then(|file| report::read_json(&name, file).map_err(|error| error.message));
    match read.map(|profile| merging.add(profile)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(twice @ NotAdded::Twice)) => Err(twice.why(&name)),
        Ok(Err(NotAdded::Overlaps(run))) => Err(skipped(merging, NotAdded::Overlaps(run).why(&name))),
        Err(why) => Err(skipped(merging, why)),
    }
}

fn skipped(merging: &mut Merging, why: String) -> String {
    merging.skip(why.clone());
    why
}

/// The files and, in the folders, the `.json` files of `named`, in order. The output file is left out.
fn files(named: &[PathBuf], output: Option<&Path>) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).map_err(|error| {
            let message = format!("cannot read `{}`: {error}", path.display());
            Error::new(EXIT_USAGE, message, "check the permissions of the folder")
        })?;
        let own = output.and_then(|output| output.canonicalize().ok());
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| Format::of(path) == Some(Format::Json) && path.is_file())
            .filter(|path| own.is_none() || path.canonicalize().ok() != own)
            .collect();
        found.sort();
        files.extend(found);
    }
    Ok(files)
}
