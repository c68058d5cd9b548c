//! `rscalene diff`: compares two saved profiles.
//!
//! Invariant: rscalene reads and checks both files completely before the comparison. A difference is a result, not an
//! error, so the exit code is 0 unless a figure grew beyond a limit of `--fail`. Neighbours: `profile::compare`
//! compares and judges, `report::diff` renders, `view` reads the files.

use std::io::Write;

use super::{browser, output, view};
use crate::cli::error::{EXIT_LIMIT, EXIT_USAGE, Error};
use crate::cli::flags::{Diff, DiffPrint};
use crate::cli::{gate, messages};
use crate::profile::compare::diff::{Diff as Difference, diff as compare};
use crate::profile::compare::gate::{Verdict, judge};
use crate::report::diff::{
    DiffFormat, DiffOptions, render_annotations, render_gate, render_gate_markdown, render_judged_json,
    render_markdown, render_table,
};
use crate::save;

/// Runs the command; returns the exit code.
pub(crate) fn diff(flags: &Diff) -> Result<i32, Error> {
    let file = output::file(flags.output.as_ref());
    let format = match file {
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
    if flags.rendering.no_source {
        view::drop_source(&mut before);
        view::drop_source(&mut after);
    }
    let rules = flags.fail.as_deref().map(gate::parse_rules).transpose().map_err(|why| usage("fail", &why))?;
    let least = gate::parse_least(&flags.min).map_err(|why| usage("min", &why))?;
    let diff = compare(&before, &after);
    let verdict = rules.map(|rules| judge(&diff, &rules, least));
    let code = if verdict.as_ref().is_some_and(|verdict| !verdict.failures.is_empty()) { EXIT_LIMIT } else { 0 };
    let options = DiffOptions { top: flags.top, min_percent: flags.min_percent, all_lines: flags.all_lines };
    if let (Some(path), Some(format)) = (file, format) {
        let style = output::styled(&flags.rendering, false);
        let bytes = format.encode(&diff, &options, &style);
        save::write_whole(path, &|out| out.write_all(&bytes)).map_err(|error| save::cannot_write(path, &error))?;
        messages::tell(&format!("saved {}", path.display()));
        if flags.open {
            browser::open(path)?;
        }
        if let Some(verdict) = &verdict {
            messages::tell(render_gate(verdict, &diff.after.cwd).trim_end());
        }
        return Ok(code);
    }
    let cwd = &diff.after.cwd;
    let text = match flags.format {
        _ if flags.json => render_judged_json(&diff, verdict.as_ref()),
        DiffPrint::Json => render_judged_json(&diff, verdict.as_ref()),
        DiffPrint::Text => {
            let table =
                render_table(&diff, &options, &output::styled(&flags.rendering, messages::stdout_is_terminal()));
            table + &verdict.as_ref().map(|verdict| render_gate(verdict, cwd)).unwrap_or_default()
        }
        DiffPrint::Md => markdown(&diff, &options, verdict.as_ref()),
        DiffPrint::Github => {
            append_summary(&markdown(&diff, &options, verdict.as_ref()))?;
            verdict.as_ref().map(|verdict| render_annotations(verdict, cwd)).unwrap_or_default()
        }
    };
    messages::print(text.as_bytes())?;
    Ok(code)
}

fn usage(flag: &str, why: &str) -> Error {
    Error::new(EXIT_USAGE, format!("cannot understand `--{flag}`"), why)
}

fn markdown(diff: &Difference, options: &DiffOptions, verdict: Option<&Verdict>) -> String {
    let limits = verdict.map(|verdict| render_gate_markdown(verdict, &diff.after.cwd)).unwrap_or_default();
    render_markdown(diff, options) + &limits
}

/// Appends to the file that GitHub shows as the summary of the step, if there is such a file.
fn append_summary(text: &str) -> Result<(), Error> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return Ok(()) };
    let path = std::path::PathBuf::from(path);
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(|error| save::cannot_write(&path, &error))?;
    file.write_all(text.as_bytes()).map_err(|error| save::cannot_write(&path, &error))
}
