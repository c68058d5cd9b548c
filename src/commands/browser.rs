//! Opens a file in the user's browser.
//!
//! Job: find a browser in the way of desktop programs: `BROWSER`, then the desktop's own opener. Invariant: rscalene
//! starts the browser and does not wait for it; the browser's output does not reach rscalene's streams. Callers: `view`
//! and `run` for `--open`.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::error::{EXIT_NO_PROFILE, Error};

/// Programs that open a file with the user's preferred application.
const OPENERS: [&str; 4] = ["xdg-open", "gio open", "sensible-browser", "x-www-browser"];

/// Opens `path`.
///
/// # Errors
/// No browser could be started.
pub(crate) fn open(path: &Path) -> Result<(), Error> {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    for command_line in candidates(|name| std::env::var_os(name)) {
        let Some((program, arguments)) = command_line.split_first() else { continue };
        let mut command = Command::new(program);
        let mut placed = false;
        for argument in arguments {
            placed |= argument.contains("%s");
            command.arg(argument.replace("%s", &whole.to_string_lossy()));
        }
        if !placed {
            command.arg(&whole);
        }
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if silent.spawn().is_ok() {
            return Ok(());
        }
    }
    Err(Error::new(
        EXIT_NO_PROFILE,
        format!("cannot open `{}`: no browser was found", path.display()),
        "open the file yourself, or name a program in BROWSER",
    ))
}

/// Commands to try, in order: first the commands in `BROWSER` (separated by colons, `%s` stands for the file), then the
/// desktop's commands if there is a display.
fn candidates(env: impl Fn(&str) -> Option<OsString>) -> Vec<Vec<String>> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut found: Vec<Vec<String>> = Vec::new();
    if let Some(named) = set("BROWSER") {
        found.extend(named.to_string_lossy().split(':').map(split));
    }
    if set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_some() {
        found.extend(OPENERS.map(split));
    }
    found.retain(|command| !command.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Vec<Vec<String>> {
        candidates(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn browser_comes_before_the_desktops_opener() {
        assert_eq!(with(&[("BROWSER", "one --new %s:two")]), [vec!["one", "--new", "%s"], vec!["two"]]);
        assert_eq!(with(&[("BROWSER", "one"), ("DISPLAY", ":0")])[1], ["xdg-open"]);
        assert_eq!(with(&[("BROWSER", ""), ("WAYLAND_DISPLAY", "w")])[0], ["xdg-open"]);
    }

    #[test]
    fn without_a_display_there_is_nothing_to_try() {
        assert_eq!(with(&[]), Vec::<Vec<String>>::new());
    }
}
