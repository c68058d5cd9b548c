//! The text of source files at the time when the program first ran them.
//!
//! Job: read a file when the first record of its code arrives. The report then shows the lines that ran, even if the
//! user edits or removes the file meanwhile. Invariants: a kept text never changes; [`MOST`] and [`MOST_IN_ALL`] bound
//! the kept bytes, and the report reads every other file at the end. Neighbours: `commands::run` feeds this table,
//! `source` reads files, `inline_source` has the text of programs without a file.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use crate::source;

/// Largest text to keep, in bytes; source written by a person is smaller.
const MOST: u64 = 4 << 20;
/// Most bytes of all kept texts.
const MOST_IN_ALL: usize = 32 << 20;

/// Kept texts by path.
#[derive(Debug, Default)]
pub(crate) struct FileSources {
    asked: HashSet<String>,
    taken: HashMap<String, String>,
    bytes: usize,
}

impl FileSources {
    /// Has `meet` been called with this name before? Later calls with the name return true.
    pub(crate) fn meet(&mut self, name: &str) -> bool {
        self.asked.contains(name) || !self.asked.insert(name.to_owned())
    }

    /// Keeps the text that the file has now, unless an earlier text is kept.
    pub(crate) fn take(&mut self, path: &str) {
        self.take_from(path, Path::new(path));
    }

    /// The same, if this process sees the file under another path: `place`.
    pub(crate) fn take_from(&mut self, path: &str, place: &Path) {
        let size = fs::metadata(place).ok().filter(fs::Metadata::is_file).map(|file| file.len());
        let fits = size.is_some_and(|size| size <= MOST && self.bytes + size as usize <= MOST_IN_ALL);
        if !fits || self.taken.contains_key(path) {
            return;
        }
        if let Some(text) = place.to_str().and_then(source::text) {
            self.bytes += text.len();
            self.taken.insert(path.to_owned(), text);
        }
    }

    /// Keeps the text of code without a file, unless an earlier text is kept.
    pub(crate) fn keep(&mut self, name: &str, text: String) {
        if self.bytes + text.len() <= MOST_IN_ALL && !self.taken.contains_key(name) {
            self.bytes += text.len();
            self.taken.insert(name.to_owned(), text);
        }
    }

    /// The kept text.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.taken.get(path).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_first_one_that_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.py");
        let path = file.to_str().expect("UTF-8");
        let mut sources = FileSources::default();
        sources.take(path);
        assert_eq!(sources.text(path), None);
        for text in ["a", "b"] {
            fs::write(&file, text).expect("written");
            sources.take(path);
        }
        assert_eq!(sources.text(path).as_deref(), Some("a"));
    }

    #[test]
    fn large_texts_and_other_things_than_files_are_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("large.py");
        fs::File::create(&file).expect("made").set_len(MOST + 1).expect("sized");
        let mut sources = FileSources::default();
        for path in [file.as_path(), folder.path()] {
            let path = path.to_str().expect("UTF-8");
            sources.take(path);
            assert_eq!(sources.text(path), None);
        }
    }

    #[test]
    fn a_name_is_new_once() {
        let mut sources = FileSources::default();
        assert_eq!([sources.meet("a"), sources.meet("b"), sources.meet("a")], [false, false, true]);
    }
}
