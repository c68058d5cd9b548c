//! Names of files in the page, and links to lines.
//!
//! Job: short, unique names for files, and the fragments of permanent links. Invariant: no two files share a name or a
//! fragment. Neighbours: every section links lines through this file; `payload` puts the names into the page's data.

use std::collections::HashSet;

use crate::profile::model::Profile;

use super::escape;

/// Names of one file.
pub(super) struct FileName {
    /// The path, relative to the working directory if the file is below it.
    pub(super) shown: String,
    /// `shown`, encoded as a URL fragment.
    pub(super) fragment: String,
}

impl FileName {
    /// Names of all files of the profile, in their order.
    pub(super) fn all(profile: &Profile) -> Vec<Self> {
        let mut taken = HashSet::new();
        let folder = format!("{}/", profile.target.cwd.trim_end_matches('/'));
        let mut names = Vec::with_capacity(profile.files.len());
        for (at, file) in profile.files.iter().enumerate() {
            let relative = file.path.strip_prefix(&folder).filter(|rest| !rest.is_empty());
            let mut shown = relative.unwrap_or(&file.path).to_owned();
            if shown.is_empty() {
                "?".clone_into(&mut shown);
            }
            if !taken.insert(shown.clone()) {
                shown = format!("{} ({at})", file.path);
                taken.insert(shown.clone());
            }
            names.push(Self { fragment: escape::fragment(&shown), shown });
        }
        names
    }

    /// The last part of the path, and the line number.
    pub(super) fn place(&self, line: u32) -> String {
        let base = self.shown.rsplit('/').next().unwrap_or(&self.shown);
        format!("{base}:{line}")
    }

    /// A link to a line. Its text is the short place, its title the whole path.
    pub(super) fn link(&self, line: u32) -> String {
        format!(
            "<a class=\"loc\" href=\"#{}:{line}\" title=\"{}:{line}\">{}</a>",
            self.fragment,
            escape::text(&self.shown),
            escape::text(&self.place(line))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::File;

    #[test]
    fn names_are_short_and_never_shared() {
        let mut profile = Profile::default();
        profile.target.cwd = "/w".into();
        for path in ["/w/a.py", "a.py", "/wx/b c.py", ""] {
            profile.files.push(File { path: path.into(), ..File::default() });
        }
        let names = FileName::all(&profile);
        let shown: Vec<&str> = names.iter().map(|n| n.shown.as_str()).collect();
        assert_eq!(shown, ["a.py", "a.py (1)", "/wx/b c.py", "?"]);
        assert_eq!(names[2].fragment, "/wx/b%20c.py");
    }
}
