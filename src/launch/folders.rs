//! Makes relative names of source files absolute.
//!
//! Job: make the name of a code object absolute when its definition arrives, because the process may have changed its
//! working folder since the program started. Invariant: an absolute name, and a name without a file (`<string>`), stay
//! as they are; if no known folder has the file, the name stays relative. Caller: `commands::run`.

use std::fs;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

/// The last working folders of each process, newest first.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    last: FxHashMap<u32, Vec<PathBuf>>,
}

/// Most folders to remember for each process.
const MOST: usize = 8;

impl Folders {
    /// Makes `name` absolute, if the file exists in the working folder of the process now, or in one of its earlier
    /// working folders.
    pub(crate) fn place(&mut self, pid: u32, name: &mut String) {
        if name.is_empty() || name.starts_with(['/', '<']) {
            return;
        }
        let known = self.last.entry(pid).or_default();
        if let Ok(now) = fs::read_link(format!("/proc/{pid}/cwd")) {
            known.retain(|folder| *folder != now);
            known.insert(0, now);
            known.truncate(MOST);
        }
        let file = |folder: &PathBuf| Some(folder.join(&name)).filter(|path| Path::is_file(path));
        if let Some(path) = known.iter().find_map(file).and_then(|path| path.into_os_string().into_string().ok()) {
            *name = path;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_name_counts_from_the_folder_of_the_process() {
        let mut folders = Folders::default();
        let mut place = |name: &str| {
            let mut name = name.to_owned();
            folders.place(std::process::id(), &mut name);
            name
        };
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(place("Cargo.toml"), here.join("Cargo.toml").to_str().expect("UTF-8"));
        for other in ["no-such-file.py", "<string>", "/x.py", ""] {
            assert_eq!(place(other), other);
        }
    }
}
