//! Splits a command line into the options of rscalene and the command line of the program.
//!
//! Job: `rscalene run [options] app.py args…` passes every word from the first non-option on to the program unchanged.
//! The same holds for `-m MODULE`, `-c CODE` and `-` with all words behind them. Invariant: this code never changes the
//! program's words; [`misplaced`] reads them only for a hint. Neighbours: `flags` knows which of the options take a
//! value; clap parses rscalene's part.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Command;

/// Splits the words behind `rscalene run`: those for rscalene, and those for the program (with its `-m`, `-c` or `-`).
pub(crate) fn split(run: &Command, args: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
    let mut at = 0;
    while let Some(word) = args.get(at) {
        let text = word.to_string_lossy();
        if text == "--" {
            return (head(args, at), tail(args, at + 1));
        }
        if text == "-" || !text.starts_with('-') || program_option(&text) {
            return (head(args, at), tail(args, at));
        }
        at += if takes_next(run, &text) { 2 } else { 1 };
    }
    (args.to_vec(), Vec::new())
}

fn head(args: &[OsString], at: usize) -> Vec<OsString> {
    args.get(..at).unwrap_or(args).to_vec()
}

fn tail(args: &[OsString], at: usize) -> Vec<OsString> {
    args.get(at..).unwrap_or(&[]).to_vec()
}

/// Is this `-m` or `-c` for the interpreter, with or without an attached value?
fn program_option(text: &str) -> bool {
    (text.starts_with("-m") || text.starts_with("-c")) && !text.starts_with("--")
}

/// Is the next word this option's value?
fn takes_next(run: &Command, text: &str) -> bool {
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values();
    if let Some(long) = text.strip_prefix("--") {
        return !long.contains('=') && run.get_arguments().any(|arg| arg.get_long() == Some(long) && takes_value(arg));
    }
    // `-qo FILE`: the first letter that takes a value takes the rest of the word. If the rest is empty, it takes the
    // next word.
    let mut letters = text.chars().skip(1);
    while let Some(letter) = letters.next() {
        if run.get_arguments().any(|arg| arg.get_short() == Some(letter) && takes_value(arg)) {
            return letters.next().is_none();
        }
    }
    false
}

/// A program as the user typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `-m MODULE args…`, `-c CODE args…` or `- args…`: words for the interpreter.
    Interpreter(Vec<OsString>),
    /// A script or a command, with its arguments.
    Named(OsString, Vec<OsString>),
    /// The user typed no program.
    Missing,
}

impl Program {
    /// Finds the form of a program's words.
    pub(crate) fn of(args: Vec<OsString>) -> Self {
        match args.first().map(|word| word.to_string_lossy().into_owned()) {
            None => Self::Missing,
            Some(first) if first == "-" || program_option(&first) => Self::Interpreter(args),
            Some(_) => {
                let mut args = args.into_iter();
                args.next().map_or(Self::Missing, |name| Self::Named(name, args.collect()))
            }
        }
    }

    /// A short name, for files named after the program.
    pub(crate) fn name(&self) -> String {
        let stem = |name: &OsStr| {
            let path = std::path::Path::new(name);
            path.file_stem().map_or_else(|| "program".to_owned(), |stem| stem.to_string_lossy().into_owned())
        };
        match self {
            Self::Named(name, _) => stem(name),
            Self::Interpreter(args) => {
                let first = args.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
                match (first.strip_prefix("-m"), args.get(1)) {
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

/// An option of rscalene behind the program's name. The program received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misplaced {
    /// The option, without a value: `--output`.
    pub(crate) option: String,
    /// The file that `-o` or `--output` names.
    pub(crate) file: Option<PathBuf>,
    /// Name of the program before the option.
    pub(crate) program: String,
}

/// The first option of rscalene behind the program's name, for a hint if the program did not accept it.
pub(crate) fn misplaced(run: &Command, program: &Program) -> Option<Misplaced> {
    let (name, args) = match program {
        Program::Named(name, args) => (name, args.as_slice()),
        Program::Interpreter(args) => {
            let first = args.first()?;
            let own = if first.len() == 2 { 2 } else { 1 };
            (args.get(own - 1)?, args.get(own..)?)
        }
        Program::Missing => return None,
    };
    let args = args.iter().take_while(|word| *word != "--");
    let mut args = args.map(|word| word.to_string_lossy()).peekable();
    while let Some(word) = args.next() {
        let (option, value) = word.split_once('=').map_or((&*word, None), |(option, value)| (option, Some(value)));
        let ours = |arg: &clap::Arg| match option.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => option == "-o" && arg.get_short() == Some('o'),
        };
        if !matches!(option, "--help" | "--version") && run.get_arguments().any(ours) {
            let value = value.map(str::to_owned).or_else(|| args.peek().map(|next| next.clone().into_owned()));
            let file = value.filter(|_| matches!(option, "-o" | "--output")).map(PathBuf::from);
            let program = name.to_string_lossy().into_owned();
            return Some(Misplaced { option: option.to_owned(), file, program });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::run_command;

    fn args(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn check(all: &str, ours: &str, programs: &str) {
        assert_eq!(split(&run_command(), &args(all)), (args(ours), args(programs)), "{all}");
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
    fn an_option_of_ours_behind_the_program_is_found() {
        let found = |text: &str| {
            misplaced(&run_command(), &Program::of(args(text)))
                .map(|found| (found.option, found.file.map(|file| file.display().to_string()), found.program))
        };
        let row = |option: &str, file: Option<&str>, program: &str| {
            Some((option.to_owned(), file.map(str::to_owned), program.to_owned()))
        };
        assert_eq!(found("app.py --output x.json"), row("--output", Some("x.json"), "app.py"));
        assert_eq!(found("app.py in --output=x.json"), row("--output", Some("x.json"), "app.py"));
        assert_eq!(found("-m pkg -o x.html"), row("-o", Some("x.html"), "pkg"));
        assert_eq!(found("app.py --cpu-only"), row("--cpu-only", None, "app.py"));
        assert_eq!(found("app.py --help"), None);
        assert_eq!(found("app.py -q --verbosely -- --output x"), None);
        assert_eq!(found("-m"), None);
    }

    #[test]
    fn a_program_has_a_short_name() {
        let name = |text: &str| Program::of(args(text)).name();
        assert_eq!(name("dir/app.py"), "app");
        assert_eq!(name("-m http.server"), "http.server");
        assert_eq!(name("-c pass"), "command");
        assert_eq!(name("-"), "stdin");
    }
}
