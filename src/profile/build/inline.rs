//! Programs whose source is on their command line: `python -c SOURCE`.
//!
//! CPython gives the code of every such program the file name `<string>`, and the code of every `exec(text)` too. This
//! file gives each program a name of its own, so that the lines of two programs are never added up:
//!
//! * `<string>`: the profiled `-c` program, or the strings executed by a program in a file;
//! * `<-c s = sum(xs)>`: another `-c` program, by its first line;
//! * `<exec>`: a string executed by a `-c` program;
//! * `<helper>`: the program with which a library starts its workers; [`super::scope`] excludes such programs.
//!
//! `builder` calls it with the command lines that the launcher reads. No I/O.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::text_of;

/// The file name that CPython gives to source without a file.
pub(crate) const STRING: &str = "<string>";
/// The name of strings executed by a `-c` program.
pub(crate) const EXEC: &str = "<exec>";
/// The name of programs with which libraries start their workers.
pub(crate) const HELPER: &str = "<helper>";
/// The name that all programs beyond the limits share.
pub(crate) const OTHERS: &str = "<-c (others)>";
/// Most programs whose source is kept, and their bytes: a run may start any number of different programs.
const MOST_TEXTS: usize = 1_024;
const MOST_BYTES: usize = 8 << 20;
/// Most characters of the first line in a name.
const SHOWN: usize = 24;

/// The program after `-c` on the command line of an interpreter.
#[must_use]
pub fn text(command: &[String]) -> Option<&str> {
    let arguments = command.get(1..)?;
    let (at, word) = arguments.iter().enumerate().find(|(_, word)| word.starts_with("-c") || !word.starts_with('-'))?;
    match word.strip_prefix("-c")? {
        "" => arguments.get(at + 1).map(String::as_str),
        text => Some(text),
    }
}

/// True for a program with which a library starts its workers (multiprocessing, joblib's loky, execnet).
fn starts_a_worker(text: &str) -> bool {
    const IMPORTS: [&str; 5] = [
        "from multiprocessing.spawn import ",
        "from multiprocessing.forkserver import ",
        "from multiprocessing.resource_tracker import ",
        "from joblib.externals.loky.",
        "from loky.",
    ];
    let line = text.lines().next().unwrap_or("");
    IMPORTS.iter().any(|import| line.contains(import))
        || matches!(
            line.trim(),
            "import sys;exec(eval(sys.stdin.readline()))" | "import sys; exec(eval(sys.stdin.readline()))"
        )
}

/// The source of all `-c` programs, by the names in the report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inline {
    /// The source of the profiled program; the inner `None`: its code is in a file.
    first: Option<Option<Arc<str>>>,
    sources: FxHashMap<Arc<str>, Arc<str>>,
    names: FxHashMap<Arc<str>, Arc<str>>,
    /// Number of programs for each shortened first line.
    numbers: FxHashMap<String, u32>,
    bytes: usize,
    /// Number of programs beyond the limits; they share the name [`OTHERS`].
    pub(crate) left_out: u64,
}

impl Inline {
    /// The name of the `-c` program with this command line; `None` if its code is in files. The first call is for the
    /// profiled program.
    pub(crate) fn name(&mut self, command: &[String]) -> Option<Arc<str>> {
        let text = text(command);
        let is_first = self.first.is_none();
        let first = self.first.get_or_insert_with(|| text.map(Arc::from)).clone();
        let text = text?;
        if is_first {
            self.keep(STRING, text);
        }
        if first.as_deref() == Some(text) {
            return Some(Arc::from(STRING));
        }
        if starts_a_worker(text) {
            return Some(Arc::from(HELPER));
        }
        if let Some(name) = self.names.get(text) {
            return Some(Arc::clone(name));
        }
        if self.names.len() >= MOST_TEXTS || self.bytes + text.len() > MOST_BYTES {
            self.left_out += 1;
            return Some(Arc::from(OTHERS));
        }
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
        let mut shown: String = line.chars().take(SHOWN).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        let number = self.numbers.entry(shown.clone()).or_default();
        *number += 1;
        let name = if *number == 1 { format!("<-c {shown}>") } else { format!("<-c {shown} ({number})>") };
        Some(self.keep(&name, text))
    }

    fn keep(&mut self, name: &str, text: &str) -> Arc<str> {
        let (name, text): (Arc<str>, Arc<str>) = (Arc::from(name), Arc::from(text));
        self.bytes += text.len();
        self.sources.insert(Arc::clone(&name), Arc::clone(&text));
        self.names.insert(text, Arc::clone(&name));
        name
    }

    /// True if the program with this name defines a function `qualname` on `first_line`, or if its source is unknown.
    pub(crate) fn defines(&self, name: &str, qualname: &str, first_line: u32) -> bool {
        self.sources.get(name).is_none_or(|text| text_of::defines(text, qualname, first_line))
    }

    /// True if the program with this name calls `exec`, `eval`, `compile` or `FunctionType`, or if its source is
    /// unknown.
    pub(crate) fn makes_code(&self, name: &str) -> bool {
        self.sources.get(name).is_none_or(|text| text_of::makes_code(text))
    }

    /// The lines of the program with this name.
    pub(crate) fn lines(&self, name: &str) -> Option<Vec<String>> {
        Some(self.sources.get(name)?.lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(strings: &[&str]) -> Vec<String> {
        strings.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn the_text_is_found_on_a_command_line_and_nothing_else_is_taken_for_it() {
        assert_eq!(text(&strings(&["python", "-c", "pass", "x"])), Some("pass"));
        assert_eq!(text(&strings(&["python", "-cpass"])), Some("pass"));
        assert_eq!(text(&strings(&["python", "-u", "-c", "pass"])), Some("pass"));
        assert_eq!(text(&strings(&["python", "app.py", "-c", "x"])), None);
        assert_eq!(text(&strings(&["python"])), None);
    }

    #[test]
    fn programs_share_a_name_only_if_their_sources_are_equal() {
        let mut inline = Inline::default();
        let mut name = |text: &str| inline.name(&strings(&["python", "-c", text])).expect("a text").to_string();
        assert_eq!(name("a = 1"), "<string>");
        assert_eq!(name("a = 1"), "<string>");
        assert_eq!(name("b = 1\nc = 2"), "<-c b = 1>");
        assert_eq!(name("b = 1\nd = 2"), "<-c b = 1 (2)>");
        assert_eq!(name("b = 1\nd = 2"), "<-c b = 1 (2)>");
        assert_eq!(name("from multiprocessing.spawn import spawn_main; spawn_main(1)"), "<helper>");
        assert_eq!(name("import sys; from multiprocessing.forkserver import main; main(3, 4, [])"), "<helper>");
        assert_eq!(inline.lines("<-c b = 1 (2)>"), Some(strings(&["b = 1", "d = 2"])));
    }

    #[test]
    fn programs_beyond_the_limits_share_a_name_and_are_counted() {
        let mut inline = Inline::default();
        let mut name = |text: &str| inline.name(&strings(&["python", "-c", text])).expect("a text").to_string();
        name("first");
        for number in 2..=MOST_TEXTS {
            assert!(name(&format!("import os\n{number}")).starts_with("<-c import os"));
        }
        assert_eq!(name("import os\nbeyond"), OTHERS);
        assert_eq!(name("import os\n2"), "<-c import os>");
        assert_eq!(inline.left_out, 1);
        let mut inline = Inline::default();
        let large = |letter: &str| strings(&["python", "-c", &letter.repeat(MOST_BYTES / 3)]);
        let names: Vec<_> = ["a", "b", "c", "d"].map(|letter| inline.name(&large(letter))).into();
        assert_eq!(names[3].as_deref(), Some(OTHERS));
        assert_eq!(inline.left_out, 1);
    }

    #[test]
    fn beside_a_program_in_a_file_every_text_is_anothers() {
        let mut inline = Inline::default();
        assert_eq!(inline.name(&strings(&["python", "app.py"])), None);
        assert_eq!(inline.name(&strings(&["python", "-c", "a = 1"])).as_deref(), Some("<-c a = 1>"));
    }
}
