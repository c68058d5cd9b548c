//! `rscalene diff`: what changed between two saved profiles.
//!
//! Invariant: both files are believed only after they were read as a whole; a difference is an answer, not an error, so
//! the exit code is 0. Neighbours: `profile::diff` compares, `report::diff` renders, `view` reads the files.

use std::io::{IsTerminal, Write};

use super::{browser, output, view};
use crate::cli::error::{EXIT_USAGE, Error};
use crate::cli::flags::Diff;
use crate::cli::messages;
use crate::profile::compare::diff::diff as compare;
use crate::report::diff::{DiffFormat, DiffOptions, render_json, render_table};
use crate::save;

/// Runs the command; the answer is the exit code.
pub(crate) fn diff(flags: &Diff) -> Result<i32, Error> {
    let format = match &flags.output {
        Some(path) => Some(DiffFormat::of(path).ok_or_else(|| {
            let message = format!("cannot tell the format of `{}` by its ending", path.display());
            Error::new(EXIT_USAGE, message, "end it in `.json`, `.html` or `.txt`")
        })?),
        None => None,
    };
    if flags.open && format != Some(DiffFormat::Html) {
        let message = "cannot open what is not HTML: `--open` goes with `-o FILE.html`";
        return Err(Error::new(EXIT_USAGE, message, "add `-o diff.html`"));
    }
    let mut before = view::read(&flags.before)?;
    let mut after = view::read(&flags.after)?;
    if flags.paper.no_source {
        view::drop_source(&mut before);
        view::drop_source(&mut after);
    }
    let diff = compare(&before, &after);
    let options = DiffOptions { top: flags.top, min_percent: flags.min_percent, all_lines: flags.all_lines };
    if let (Some(path), Some(format)) = (&flags.output, format) {
        let style = output::styled(&flags.paper, false);
        let bytes = format.encode(&diff, &options, &style);
        save::write_whole(path, &bytes).map_err(|error| save::cannot_write(path, &error))?;
        messages::tell(&format!("saved {}", path.display()));
        if flags.open {
            browser::open(path)?;
        }
        return Ok(0);
    }
    let text = if flags.json {
        render_json(&diff)
    } else {
        render_table(&diff, &options, &output::styled(&flags.paper, std::io::stdout().is_terminal()))
    };
    // A reader that has seen enough (`| head`) is no error.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(0)
}
