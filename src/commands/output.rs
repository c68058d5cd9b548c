//! Shows and saves the report at the end of a command.
//!
//! Job: print the table on a terminal or one line in a pipe, and write the files of `-o`. Without `-o`, on a terminal,
//! write a JSON file in the current folder. Invariants: files appear whole or not at all, readable by the user alone.
//! Without `-o`, rscalene replaces a file only if the file is a profile of rscalene. Nothing is written to stdout while
//! a program runs. If a report cannot be written, a message says so and all other steps still happen. Callers: `run`,
//! `view`, `report`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{browser, names};
use crate::cli::error::{EXIT_NO_PROFILE, EXIT_USAGE, Error};
use crate::cli::flags::{Color, Rendering, Show};
use crate::cli::messages::{print, stderr_is_terminal, stdout_is_terminal, tell, tell_raw, terminal_size};
use crate::launch::{inline_source, notebooks};
use crate::profile::model::{FORMAT_NAME, Profile, Target};
use crate::report::export::{Format, Look, Weight};
use crate::report::style::{ColorChoice, Output, Style};
use crate::report::view::{Detail, Options};
use crate::report::{self};
use crate::save::{self, cannot_write, folder_of, format_of, write_whole};
use crate::source;

/// Refuses output files that cannot be written, before the program starts.
pub(crate) fn check(output: &[PathBuf]) -> Result<(), Error> {
    for path in output.iter().filter(|path| !is_stdout(path)) {
        format_of(path)?;
        let folder = folder_of(path);
        if !folder.is_dir() {
            return Err(Error::new(
                EXIT_USAGE,
                format!("cannot write `{}`: there is no folder `{}`", path.display(), folder.display()),
                "make the folder first, or name another",
            ));
        }
        if path.is_dir() {
            let message = format!("cannot write `{}`: it is a folder", path.display());
            return Err(Error::new(EXIT_USAGE, message, "name a file in it"));
        }
    }
    Ok(())
}

/// Is this `-o -`? The table then goes to standard output after the program has ended.
fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The file of `-o`; `None` without `-o` and for `-o -`, which both mean standard output.
pub(crate) fn file(output: Option<&PathBuf>) -> Option<&Path> {
    output.map(PathBuf::as_path).filter(|path| !is_stdout(path))
}

/// Returns the text of a source file, if it can be read.
pub(crate) type ReadSource<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The result of showing and saving a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Exit code for a program that succeeded.
    pub(crate) code: i32,
    /// A file of `-o` could not be written.
    pub(crate) unsaved: bool,
}

/// The wishes of the user for the report.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The files of `-o`.
    pub(crate) output: &'a [PathBuf],
    /// Open the page.
    pub(crate) open: bool,
    /// Print nothing, and save only the files of `-o`.
    pub(crate) quiet: bool,
    /// How the report looks.
    pub(crate) show: &'a Show,
    /// The name in the file that is saved without `-o`: `rscalene-NAME.json`.
    pub(crate) name: &'a str,
    /// Start of the recording. A file of `-o` with a later time of change belongs to another run.
    pub(crate) started: SystemTime,
}

/// Prints and saves the report, and opens the page.
pub(crate) fn report(
    profile: &Profile,
    wanted: &Wanted<'_>,
    unprofiled: Option<Error>,
    source: ReadSource<'_>,
) -> Reported {
    let (mut code, mut unsaved) = (0, false);
    let profiled = unprofiled.is_none();
    if let Some(error) = unprofiled {
        code = error.code;
        if !wanted.quiet {
            tell(&error.to_string());
        }
    }
    let terminal = stderr_is_terminal();
    let mut saved = Vec::new();
    let mut errors = Vec::new();
    for path in wanted.output.iter().filter(|path| !is_stdout(path)) {
        match format_of(path).and_then(|format| save_new(profile, path, format, wanted, source)) {
            Ok(path) => saved.push(path),
            Err(error) => errors.push(error),
        }
    }
    if wanted.output.is_empty() && terminal && !wanted.quiet && profiled {
        match save_own(profile, wanted, source) {
            Ok(path) => saved.push(path),
            Err(error) => errors.push(error),
        }
    }
    if !wanted.quiet {
        saved.iter().for_each(|path| tell(&saved_as(path, wanted.show)));
        if profiled && !wanted.output.iter().any(|path| is_stdout(path)) {
            if saved.is_empty() && errors.is_empty() {
                tell("rscalene: `-o FILE.html` saves the page, `-o FILE.json` the profile; `--full` prints all tables");
            }
            tell_raw(&table(profile, wanted.show, terminal, source));
        }
    }
    if profiled && wanted.output.iter().any(|path| is_stdout(path)) {
        errors.extend(print(table(profile, wanted.show, stdout_is_terminal(), source).as_bytes()).err());
    }
    for error in &errors {
        tell(&error.to_string());
        (code, unsaved) = (EXIT_NO_PROFILE, true);
    }
    if wanted.open
        && profiled
        && let Err(error) = open(profile, wanted, source)
    {
        tell(&error.to_string());
    }
    Reported { code, unsaved }
}

/// The message after saving a report: its path, and how to show the profile again.
fn saved_as(path: &Path, show: &Show) -> String {
    let shown = path.display();
    match Format::of(path) {
        Some(Format::Pstats) => saved_pstats(path, show),
        Some(Format::Json) => {
            format!("saved {shown}; `rscalene view {shown} --full` shows all tables, `--open` the page")
        }
        _ => format!("saved {shown}"),
    }
}

/// The message after saving a pstats file: its path, and the meaning of its figures, since pstats prints samples as
/// calls.
pub(crate) fn saved_pstats(path: &Path, show: &Show) -> String {
    let (of, other) = match show.of.unwrap_or(Weight::Wall) {
        Weight::Wall => ("wall time (CPU and waiting)", "; `--of cpu` writes CPU time"),
        Weight::Cpu => ("CPU time", ""),
        Weight::Alloc => ("bytes allocated", ""),
        Weight::Peak => ("bytes held at the peak", ""),
        Weight::Live => ("bytes held at the end", ""),
    };
    format!("saved {}: {of} by function; ncalls are CPU samples, not calls{other}", path.display())
}

/// The report as text: on a terminal as much as fits, elsewhere the short form, with `--full` all tables.
pub(crate) fn table(profile: &Profile, show: &Show, terminal: bool, source: ReadSource<'_>) -> String {
    let detail = match (show.full, terminal.then(terminal_size).flatten()) {
        (true, _) => Detail::Full,
        (false, Some((_, rows))) => Detail::Fitting { rows },
        (false, None) => Detail::Short,
    };
    let style = style(show, terminal);
    let mut text = if show.leaks { report::render_leaks(profile, &style) } else { String::new() };
    text.push_str(&report::render_table(profile, &Options { detail, ..options(show) }, &style, source));
    text
}

/// Opens the page: an HTML file of `-o` if there is one, else a temporary file.
fn open(profile: &Profile, wanted: &Wanted<'_>, source: ReadSource<'_>) -> Result<(), Error> {
    if let Some(path) = wanted.output.iter().find(|path| Format::of(path) == Some(Format::Html)) {
        return browser::open(path);
    }
    let folder = std::env::temp_dir();
    let file = tempfile::Builder::new().prefix("rscalene-").suffix(".html").tempfile_in(&folder);
    let kept = file.and_then(|file| file.into_temp_path().keep().map_err(|error| error.error));
    let path = kept.map_err(|error| cannot_write(&folder, &error))?;
    save(profile, &path, Format::Html, wanted.show, source)?;
    tell(&format!("the page is {}", path.display()));
    browser::open(&path)
}

/// Saves the profile without `-o`: in `rscalene-NAME.json` in the current folder.
fn save_own(profile: &Profile, wanted: &Wanted<'_>, source: ReadSource<'_>) -> Result<PathBuf, Error> {
    let name: String =
        wanted.name.chars().map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    let path = PathBuf::from(format!("rscalene-{name}.json"));
    let path = names::placed(&path, profile.target.host.as_deref(), profile.target.rank);
    if path.exists() && !is_profile(&path) {
        return Err(Error::new(
            EXIT_NO_PROFILE,
            format!("cannot save `{}`: a file of that name is there and is no profile", path.display()),
            "name another file with `-o`",
        ));
    }
    save(profile, &path, Format::Json, wanted.show, source)?;
    Ok(path)
}

/// Does the file begin like a profile of rscalene?
fn is_profile(path: &Path) -> bool {
    use std::io::Read;
    let mut start = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(256).read_to_string(&mut start));
    read.is_ok() && start.trim_start().starts_with('{') && start.contains(FORMAT_NAME)
}

/// Writes the profile to a file of `-o`. If this file appeared or changed after the recording began, it belongs to
/// another run and stays. The profile then goes to a file beside it. Returns the path of the written file.
fn save_new(
    profile: &Profile,
    path: &Path,
    format: Format,
    wanted: &Wanted<'_>,
    source: ReadSource<'_>,
) -> Result<PathBuf, Error> {
    let style = style(wanted.show, false);
    let content = |out: &mut dyn Write| write(profile, format, wanted.show, &style, source, out);
    let written =
        save::write_unless_newer(path, &content, wanted.started).map_err(|error| cannot_write(path, &error))?;
    if written {
        return Ok(path.to_owned());
    }
    let beside = save::beside(path, &profile.target.pid.to_string());
    let written = save::write_unless_newer(&beside, &content, wanted.started);
    let beside = if written.map_err(|error| cannot_write(&beside, &error))? {
        beside
    } else {
        // A process on another machine may have the same process id.
        let host = profile.target.host.as_deref().unwrap_or("other").replace('/', "_");
        let beside = save::beside(path, &format!("{host}.{}", profile.target.pid));
        write_whole(&beside, &content).map_err(|error| cannot_write(&beside, &error))?;
        beside
    };
    tell(&format!("rscalene: another run has written {} meanwhile, which stays as it is", path.display()));
    Ok(beside)
}

/// Writes a profile to a file, whole or not at all.
pub(crate) fn save(
    profile: &Profile,
    path: &Path,
    format: Format,
    show: &Show,
    source: ReadSource<'_>,
) -> Result<(), Error> {
    let style = style(show, false);
    write_whole(path, &|out| write(profile, format, show, &style, source, out))
        .map_err(|error| cannot_write(path, &error))
}

/// The profile in a format.
pub(crate) fn encode(profile: &Profile, format: Format, show: &Show, style: &Style, source: ReadSource<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a `Vec` never fails.
    let _ = write(profile, format, show, style, source, &mut bytes);
    bytes
}

/// Writes the profile to `out` in a format.
fn write(
    profile: &Profile,
    format: Format,
    show: &Show,
    style: &Style,
    source: ReadSource<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let read = |path: &str| if show.rendering.no_source { None } else { source(path) };
    let look = Look {
        options: options(show),
        style: *style,
        source: !show.rendering.no_source,
        weight: show.of,
        read_source: &read,
    };
    format.write(profile, &look, out)?;
    if show.leaks && format == Format::Text {
        out.write_all(report::render_leaks(profile, style).as_bytes())?;
    }
    Ok(())
}

/// The options of a report, from the flags.
pub(crate) fn options(show: &Show) -> Options {
    Options {
        sort: show.sort,
        top: show.top,
        min_percent: show.min_percent,
        all_lines: show.all_lines,
        per_process: show.per_process,
        tree: show.tree,
        detail: Detail::Full,
    }
}

/// The look of a report on stderr, or as text in a file.
pub(crate) fn style(show: &Show, terminal: bool) -> Style {
    styled(&show.rendering, terminal)
}

/// The look of a report, from the options of rendering alone.
pub(crate) fn styled(rendering: &Rendering, terminal: bool) -> Style {
    let color = match rendering.color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    let output = Output {
        is_terminal: terminal,
        columns: if terminal { terminal_size().map(|(columns, _)| columns) } else { None },
    };
    Style::resolve(output, |name| std::env::var(name).ok(), color, rendering.width)
}

/// The source text for a file name of the program: from its command line, from a notebook, or from the file.
pub(crate) fn source_of(target: &Target, path: &str) -> Option<String> {
    let typed = inline_source::on_command_line(&target.command, path);
    typed.or_else(|| notebooks::text(path)).or_else(|| source::text(path))
}

/// The lines of a text, without their newlines.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The platform for the profile, for example `linux-x86_64`.
pub(crate) fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}
