//! Defaults from `[tool.rscalene]` in the nearest `pyproject.toml`.
//!
//! Job: make each key the default of the option with the same name. The environment and the command line override it.
//! Invariant: a key is the long name of an option (with `-` or `_`), and its value obeys the rules of the option.
//! Neighbours: `flags` declares the options, `commands` parses with the result.

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::OsStr;
use clap::{ArgAction, Command};
use toml::{Table, Value};

use super::error::{EXIT_USAGE, Error};

/// Gives `command` (the whole command line of rscalene) the defaults that apply in `folder`.
pub(crate) fn apply(command: Command, folder: &Path) -> Result<Command, Error> {
    let Some((file, settings)) = find(folder)? else { return Ok(command) };
    let mut applied = command;
    for name in ["run", "view"] {
        let subcommand = applied.find_subcommand(name).cloned().unwrap_or_default();
        let mut args = vec![name.to_owned()];
        let mut defaults = Vec::new();
        for (key, value) in &settings {
            let long = key.replace('_', "-");
            let Some(arg) = subcommand.get_arguments().find(|arg| arg.get_long() == Some(&long)) else {
                if name == "run" {
                    return Err(unknown(&file, key, &subcommand));
                }
                continue;
            };
            let values = values(value).ok_or_else(|| {
                wrong(&file, &format!("`{key}` is no text, number, switch or list"), "write it as on the command line")
            })?;
            if takes_values(arg) {
                args.extend(values.iter().map(|value| format!("--{long}={value}")));
            } else if !matches!(value, Value::Boolean(_)) {
                return Err(wrong(&file, &format!("`{key}` is a switch"), "write `true` or `false`"));
            }
            defaults.push((arg.get_id().clone(), values));
        }
        check(&subcommand, &args, &file)?;
        applied = applied.mut_subcommand(name, |subcommand| {
            defaults.into_iter().fold(subcommand, |subcommand, (id, values)| {
                subcommand.mut_arg(id, |arg| arg.default_values(values.into_iter().map(OsStr::from)))
            })
        });
    }
    Ok(applied)
}

/// The table of the nearest `pyproject.toml`, going up from `folder`.
fn find(folder: &Path) -> Result<Option<(PathBuf, Table)>, Error> {
    let Some(file) = folder.ancestors().map(|folder| folder.join("pyproject.toml")).find(|file| file.is_file()) else {
        return Ok(None);
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) if text.contains("rscalene") => text,
        // Report no error if the file cannot be read or does not mention rscalene: it belongs to the user's project.
        _ => return Ok(None),
    };
    let mut all: Table = text.parse().map_err(|error: toml::de::Error| {
        wrong(&file, &format!("it is not valid TOML: {}", error.message()), "mend the file, or run from another folder")
    })?;
    match all.get_mut("tool").and_then(|tool| tool.get_mut("rscalene")) {
        Some(Value::Table(table)) => Ok(Some((file, std::mem::take(table)))),
        _ => Ok(None),
    }
}

fn takes_values(arg: &clap::Arg) -> bool {
    !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count)
}

fn values(value: &Value) -> Option<Vec<String>> {
    Some(match value {
        Value::String(text) => vec![text.clone()],
        Value::Integer(number) => vec![number.to_string()],
        Value::Float(number) => vec![number.to_string()],
        Value::Boolean(switch) => vec![switch.to_string()],
        Value::Array(list) => list.iter().map(values).collect::<Option<Vec<_>>>()?.concat(),
        Value::Datetime(_) | Value::Table(_) => return None,
    })
}

/// Checks the values by the rules of the command line, before they become defaults.
fn check(subcommand: &Command, args: &[String], file: &Path) -> Result<(), Error> {
    // The configuration need not give the required words of the subcommand.
    let relaxed = subcommand.clone().mut_args(|arg| arg.required(false));
    relaxed.try_get_matches_from(args).map(drop).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        wrong(file, line.strip_prefix("error: ").unwrap_or(line), "the values are those of the command line")
    })
}

fn unknown(file: &Path, key: &str, subcommand: &Command) -> Error {
    let names: Vec<&str> = subcommand.get_arguments().filter_map(clap::Arg::get_long).collect();
    wrong(file, &format!("`{key}` is no option"), &format!("one of {}", names.join(", ")))
}

fn wrong(file: &Path, why: &str, hint: &str) -> Error {
    Error::new(EXIT_USAGE, format!("cannot use `[tool.rscalene]` of `{}`: {why}", file.display()), hint)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::cli::flags::{self, Cli};

    fn parsed(toml: &str, args: &[&str]) -> Result<flags::Run, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("pyproject.toml"), toml).expect("written");
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).expect("made");
        let command = apply(Cli::command(), &inner)?;
        let matches = command.try_get_matches_from([&["rscalene", "run"], args].concat()).expect("parses");
        match Cli::from_arg_matches(&matches).expect("fits").command {
            flags::Command::Run(run) => Ok(run),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_outranks_the_file_and_the_file_the_defaults() {
        let toml = "[tool.rscalene]\ncpu_only = true\ntop = 3\nmin-percent = 2.5\ninclude = ['a*', 'b*']\n";
        let run = parsed(toml, &["--top", "4"]).expect("valid");
        assert!(run.cpu_only);
        assert_eq!(run.show.top, 4);
        assert!((run.show.min_percent - 2.5).abs() < 1e-9);
        assert_eq!(run.scope.include, ["a*", "b*"]);
    }

    #[test]
    fn an_unusable_setting_gives_an_error_that_names_the_file() {
        for (toml, part) in [
            ("[tool.rscalene]\nintervall = 3\n", "`intervall` is no option"),
            ("[tool.rscalene]\ninterval = 'soon'\n", "interval"),
            ("[tool.rscalene]\ncpu-only = 'yes'\n", "`cpu-only` is a switch"),
            ("[tool.rscalene\n", "not valid TOML"),
        ] {
            let error = parsed(toml, &[]).expect_err(toml);
            assert!(error.message.contains(part) && error.message.contains("pyproject.toml"), "{error}");
            assert_eq!(error.code, EXIT_USAGE);
        }
    }

    #[test]
    fn a_file_of_others_changes_nothing() {
        assert_eq!(parsed("[tool.other]\nx = 1\n", &[]).expect("valid").show.top, 10);
        assert_eq!(
            parsed("not even rscalene's TOML [", &[]).map(|run| run.show.top).map_err(|error| error.code),
            Err(2)
        );
    }
}
