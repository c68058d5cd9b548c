//! The same file in different profiles.
//!
//! Job: the identity of a file, and its path in the merged profile. Invariants: the identity of a file with known
//! source is its path below the working directory and the digest of the source. So `app.py` of two folders is the same
//! file if both sources are equal, and two files if not. Without known source, the whole path counts. The path in a
//! merged profile gives the same identity again. Neighbours: `lines` and `stacks` name files by number.

use std::collections::BTreeMap;

use crate::profile::model::File;

/// Beginning of paths below a working directory, if the runs have different working directories.
const HERE: &str = "./";

/// The number of a file while profiles are added.
pub(super) type FileId = usize;

/// The identity of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileKey {
    path: String,
    /// True if `path` is relative to the working directory.
    below: bool,
    text: Option<String>,
}

impl FileKey {
    /// The identity of a file in a profile whose program ran in `cwd`.
    pub(super) fn of(file: &File, cwd: &str) -> Self {
        let Some(text) = &file.text_sha256 else {
            return Self { path: file.path.clone(), below: false, text: None };
        };
        let path = file.path.strip_suffix(&version(text)).unwrap_or(&file.path);
        let folder = format!("{}/", cwd.trim_end_matches('/'));
        let relative = path.strip_prefix(HERE).or_else(|| path.strip_prefix(&folder).filter(|_| !cwd.is_empty()));
        let (path, below) = (relative.unwrap_or(path).to_owned(), relative.is_some());
        Self { path, below, text: Some(text.clone()) }
    }

    pub(super) fn text(&self) -> Option<&String> {
        self.text.as_ref()
    }
}

/// The end of a path, if files of the same path have different source.
fn version(text: &str) -> String {
    format!(" (text {})", text.get(..8).unwrap_or(text))
}

/// The paths of files in the merged profile. `cwd`: the working directory of all runs; empty: several.
pub(super) fn shown(keys: &[FileKey], cwd: &str) -> Vec<String> {
    let mut texts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for key in keys {
        *texts.entry((&key.path, key.below)).or_default() += 1;
    }
    let shown = |key: &FileKey| {
        let folder = match (key.below, cwd) {
            (false, _) => String::new(),
            (true, "") => HERE.to_owned(),
            (true, cwd) => format!("{}/", cwd.trim_end_matches('/')),
        };
        let several = texts[&(key.path.as_str(), key.below)] > 1;
        let version = key.text.as_deref().filter(|_| several).map(version).unwrap_or_default();
        format!("{folder}{}{version}", key.path)
    };
    keys.iter().map(shown).collect()
}
