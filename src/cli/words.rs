//! Where our own words end and the program's begin.
//!
//! Job: `rscalene run [options] app.py args…` gives everything from the first word that is no option of ours to the
//! program, untouched; so do `-m MODULE`, `-c CODE` and `-` with what stands behind them. Invariant: the program's words
//! are never looked at. Neighbours: `flags` knows which of our options take a value; clap parses what this leaves it.

use std::ffi::{OsStr, OsString};

use clap::Command;

/// Splits the words behind `rscalene run`: ours, and the program's (with its `-m`, `-c` or `-`).
pub(crate) fn split(run: &Command, words: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let text = word.to_string_lossy();
        if text == "--" {
            return (head(words, at), tail(words, at + 1));
        }
        if text == "-" || !text.starts_with('-') || program_option(&text) {
            return (head(words, at), tail(words, at));
        }
        at += if takes_next(run, &text) { 2 } else { 1 };
    }
    (words.to_vec(), Vec::new())
}

fn head(words: &[OsString], at: usize) -> Vec<OsString> {
    words.get(..at).unwrap_or(words).to_vec()
}

fn tail(words: &[OsString], at: usize) -> Vec<OsString> {
    words.get(at..).unwrap_or(&[]).to_vec()
}

/// `-m` and `-c`, as the interpreter has them, attached value or not.
fn program_option(text: &str) -> bool {
    (text.starts_with("-m") || text.starts_with("-c")) && !text.starts_with("--")
}

/// Is the next word this option's value?
fn takes_next(run: &Command, text: &str) -> bool {
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values();
    if let Some(long) = text.strip_prefix("--") {
        return !long.contains('=') && run.get_arguments().any(|arg| arg.get_long() == Some(long) && takes_value(arg));
    }
    // `-qo FILE`: the first letter that takes a value takes the rest of the word, or the next word if nothing is left.
    let mut letters = text.chars().skip(1);
    while let Some(letter) = letters.next() {
        if run.get_arguments().any(|arg| arg.get_short() == Some(letter) && takes_value(arg)) {
            return letters.next().is_none();
        }
    }
    false
}

/// A program as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `-m MODULE args…`, `-c CODE args…` or `- args…`: words for the interpreter.
    Interpreter(Vec<OsString>),
    /// A script or a command, with its arguments.
    Named(OsString, Vec<OsString>),
    /// Nothing was typed.
    Missing,
}

impl Program {
    /// Tells the forms apart.
    pub(crate) fn of(words: Vec<OsString>) -> Self {
        match words.first().map(|word| word.to_string_lossy().into_owned()) {
            None => Self::Missing,
            Some(first) if first == "-" || program_option(&first) => Self::Interpreter(words),
            Some(_) => {
                let mut words = words.into_iter();
                words.next().map_or(Self::Missing, |name| Self::Named(name, words.collect()))
            }
        }
    }

    /// A short name for files that are named after the program.
    pub(crate) fn name(&self) -> String {
        let stem = |name: &OsStr| {
            let path = std::path::Path::new(name);
            path.file_stem().map_or_else(|| "program".to_owned(), |stem| stem.to_string_lossy().into_owned())
        };
        match self {
            Self::Named(name, _) => stem(name),
            Self::Interpreter(words) => {
                let first = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
                match (first.strip_prefix("-m"), words.get(1)) {
                    (Some(""), Some(module)) => module.to_string_lossy().into_owned(),
                    (Some(module), _) if !module.is_empty() => module.to_owned(),
                    _ if first.starts_with("-c") => "command".to_owned(),
                    _ => "stdin".to_owned(),
                }
            }
            Self::Missing => "program".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::run_command;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn check(all: &str, ours: &str, programs: &str) {
        assert_eq!(split(&run_command(), &words(all)), (words(ours), words(programs)), "{all}");
    }

    #[test]
    fn everything_behind_the_first_word_that_is_no_option_is_the_programs() {
        check("app.py -o x --top 3", "", "app.py -o x --top 3");
        check("-q -o out.json app.py -q", "-q -o out.json", "app.py -q");
        check("-oout.json --top=3 app.py", "-oout.json --top=3", "app.py");
        check("--top 3 -m pkg.mod -m -c", "--top 3", "-m pkg.mod -m -c");
        check("-c pass --all", "", "-c pass --all");
        check("-mjson.tool", "", "-mjson.tool");
        check("- x", "", "- x");
        check("-q -- -m x", "-q", "-m x");
    }

    #[test]
    fn a_program_has_a_short_name() {
        let name = |text: &str| Program::of(words(text)).name();
        assert_eq!(name("dir/app.py"), "app");
        assert_eq!(name("-m http.server"), "http.server");
        assert_eq!(name("-c pass"), "command");
        assert_eq!(name("-"), "stdin");
    }
}
