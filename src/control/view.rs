//! `rscalene view`: a saved profile, shown again.
//!
//! Invariant: the file is believed only after it was read as a whole; the table goes to stdout, since no program runs.
//! Neighbours: `report::json` reads, `output` writes.

use std::fs::File;
use std::io::{IsTerminal, Write};

use super::flags::View;
use super::output;
use crate::error::{EXIT_USAGE, Error};
use crate::report;

/// Runs the command; the answer is the exit code.
pub(crate) fn view(flags: &View) -> Result<i32, Error> {
    let shown = flags.file.display().to_string();
    let file = File::open(&flags.file).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        let hint = "`rscalene run -o FILE.json app.py` writes a profile";
        Error::new(EXIT_USAGE, format!("cannot read `{shown}`: {why}"), hint)
    })?;
    let mut profile = report::read_json(&shown, file)?;
    if flags.show.no_source {
        profile.files.iter_mut().flat_map(|file| &mut file.lines).for_each(|line| line.source = None);
    }
    let target = match (&flags.output, flags.html) {
        (Some(path), _) => Some(path.clone()),
        (None, true) => Some(flags.file.with_extension("html")),
        (None, false) => None,
    };
    if let Some(path) = target {
        output::save(&profile, &path, &flags.show)?;
        output::tell(&format!("saved {}", path.display()));
        return Ok(0);
    }
    let style = output::style(&flags.show, std::io::stdout().is_terminal());
    let no_source = flags.show.no_source;
    let source = |path: &str| if no_source { None } else { output::source_text(path) };
    let text = report::render_table(&profile, &output::options(&flags.show), &style, &source);
    // A reader that has seen enough (`| head`) is no error.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(0)
}
