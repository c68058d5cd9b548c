//! Reads the source files of this machine for the builder of profiles.
//!
//! Job: read the text of a source file of the program, and tell whether an installer such as pip put the file into its
//! folder. Invariants: each file and each folder is read once; a file above [`MOST`] bytes has no text. Neighbours:
//! `profile::build::text_of` calls, `file_sources` keeps the text for the report.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::profile::build::text_of::Files;
use crate::source;

/// Largest file to read, in bytes; source written by a person is smaller.
const MOST: u64 = 4 << 20;
/// Largest number of kept texts.
const MOST_TEXTS: usize = 512;
/// Largest list of an installer (`RECORD`) to read, in bytes.
const MOST_RECORD: u64 = 16 << 20;

/// The files of this machine.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    texts: HashMap<String, Option<Arc<str>>>,
    /// By folder: the files that the `*.dist-info` folders in it list, relative to the folder.
    installed: HashMap<String, Option<HashSet<String>>>,
}

impl Files for Disk {
    fn text(&self, path: &str) -> Option<Arc<str>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = known.texts.get(path) {
            return text.clone();
        }
        let small = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= MOST);
        let text = if small { source::text(path).map(Arc::from) } else { None };
        if known.texts.len() < MOST_TEXTS {
            known.texts.insert(path.to_owned(), text.clone());
        }
        text
    }

    fn is_installed(&self, path: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        path.match_indices('/').skip(1).any(|(at, _)| {
            let (folder, file) = (&path[..at], &path[at + 1..]);
            let lists = match known.installed.get(folder) {
                Some(lists) => lists,
                None => known.installed.entry(folder.to_owned()).or_insert_with(|| listed(Path::new(folder))),
            };
            lists.as_ref().is_some_and(|files| files.contains(file))
        })
    }
}

/// The files in the installers' lists of this folder; `None` if the folder has no `*.dist-info`.
fn listed(folder: &Path) -> Option<HashSet<String>> {
    let mut files = None;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        if !entry.file_name().to_string_lossy().ends_with(".dist-info") {
            continue;
        }
        let files = files.get_or_insert_with(HashSet::new);
        let record = entry.path().join("RECORD");
        if fs::metadata(&record).is_ok_and(|file| file.len() <= MOST_RECORD) {
            let text = fs::read_to_string(record).unwrap_or_default();
            files.extend(text.lines().filter_map(|line| line.split(',').next()).map(str::to_owned));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_an_installers_list_are_installed_and_other_files_beside_them_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        fs::create_dir_all(at("pkg-1.0.dist-info")).expect("made");
        fs::create_dir_all(at("pkg")).expect("made");
        fs::write(at("pkg-1.0.dist-info/RECORD"), "pkg/__init__.py,sha256=a,3\nsingle.py,,\n").expect("written");
        let disk = Disk::default();
        assert!(disk.is_installed(&at("pkg/__init__.py")));
        assert!(disk.is_installed(&at("single.py")));
        assert!(!disk.is_installed(&at("app.py")));
        assert!(!disk.is_installed(&at("pkg/other.py")));
    }
}
