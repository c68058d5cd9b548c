//! The time that the scope hides, and the option that shows it.
//!
//! Job: if most of the CPU time belongs to no line in scope, name the packages or folders with the most of it.
//! Invariant: only stacks without any frame in scope count, since all other time belongs to a line. Callers:
//! `table::summary`, `table::closing` and the page's cards show the sentence.

use std::collections::HashMap;

use super::export::walk::path;
use super::view::{cpu_s, share};
use crate::profile::model::Profile;
use crate::units;

/// Least share of the CPU time out of scope for which the sentence is shown.
const MOST: f64 = 0.5;
/// Least share of the hidden time for which a package is named.
const NAMED_SHARE: f64 = 0.1;
/// Most packages to name.
const NAMED: usize = 2;

/// The sentence; `None` if the scope hides less than half of the CPU time, or if the profile has no stacks.
pub(crate) fn sentence(profile: &Profile) -> Option<String> {
    let all = cpu_s(&profile.totals.time)?;
    let outside = share(cpu_s(&profile.totals.outside_scope), all).filter(|part| *part >= MOST)?;
    let packages = packages(profile);
    let sum: f64 = packages.iter().map(|(.., s)| s).sum();
    let named: Vec<_> = packages.into_iter().filter(|(.., s)| *s >= NAMED_SHARE * sum).take(NAMED).collect();
    let (word, ..) = named.first()?;
    let places: Vec<String> = named
        .iter()
        .map(|(_, folder, s)| format!("{} in {folder}", units::percent_in_prose(s / sum * outside)))
        .collect();
    Some(format!(
        "files out of scope took {} of the CPU time ({}): run with `--include {word}` to see their lines, or with `--all`",
        units::percent_in_prose(outside),
        places.join(", ")
    ))
}

/// Argument for `--include`, folder or file, and CPU seconds of stacks without a frame in scope; largest first.
fn packages(profile: &Profile) -> Vec<(String, String, f64)> {
    let stacks = &profile.stacks;
    let mut inside = vec![false; stacks.nodes.len()];
    let mut sums: HashMap<(&str, &str), f64> = HashMap::new();
    for (at, node) in stacks.nodes.iter().enumerate() {
        let Some(frame) = stacks.frames.get(node.frame) else { continue };
        inside[at] = frame.file < profile.files.len() || node.parent.is_some_and(|parent| inside[parent]);
        if !inside[at] && node.cpu_s > 0.0 {
            let path = path(profile, frame);
            *sums.entry((word(path), folder(path))).or_default() += node.cpu_s;
        }
    }
    let mut rows: Vec<_> = sums.into_iter().map(|((word, place), s)| (word.to_owned(), place.to_owned(), s)).collect();
    rows.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.1.cmp(&b.1)));
    rows
}

/// Start and end of a file's package in its path: the component behind `site-packages` or behind the standard library's
/// folder; for other files, the folder of the file.
fn ends(path: &str) -> (usize, usize) {
    let libraries = ["/site-packages/", "/dist-packages/"].iter().find_map(|mark| Some(path.rfind(mark)? + mark.len()));
    let standard = || {
        let (at, _) = path.match_indices("/python3.").last()?;
        Some(at + 1 + path[at + 1..].find('/')? + 1)
    };
    let end_of = |start: usize| path[start..].find('/').map_or(path.len(), |length| start + length);
    if let Some(start) = libraries.or_else(standard) {
        return (start, end_of(start));
    }
    let end = path.rfind('/').filter(|at| *at > 0).unwrap_or(path.len());
    (path[..end].rfind('/').map_or(0, |at| at + 1), end)
}

/// The path component to give to `--include`.
fn word(path: &str) -> &str {
    let (start, end) = ends(path);
    &path[start..end]
}

/// The folder of the package, or the file of a module without a folder.
fn folder(path: &str) -> &str {
    &path[..ends(path).1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{File, StackFrame, StackNode, Time};

    #[test]
    fn packages_are_named_by_what_include_takes() {
        for (path, is, at) in [
            ("/v/lib/python3.11/site-packages/numpy/core/x.py", "numpy", "/v/lib/python3.11/site-packages/numpy"),
            ("/v/lib/python3.11/site-packages/six.py", "six.py", "/v/lib/python3.11/site-packages/six.py"),
            ("/usr/lib/python3.12/json/decoder.py", "json", "/usr/lib/python3.12/json"),
            ("/w/vendor/requests/api.py", "requests", "/w/vendor/requests"),
            ("<frozen runpy>", "<frozen runpy>", "<frozen runpy>"),
        ] {
            assert_eq!((word(path), folder(path)), (is, at));
        }
    }

    #[test]
    fn hidden_time_is_reported_with_the_option_that_shows_it() {
        let mut profile = Profile::default();
        profile.files.push(File { path: "/w/app.py".into(), lines: vec![Default::default()], ..File::default() });
        profile.stacks.other_files = vec!["/l/site-packages/tool/a.py".into()];
        profile.stacks.frames = (0..2).map(|file| StackFrame { file, ..StackFrame::default() }).collect();
        let node = |parent, frame, cpu_s| StackNode { parent, frame, cpu_s, ..StackNode::default() };
        profile.stacks.nodes = vec![node(None, 1, 3.0), node(None, 0, 0.5), node(Some(1), 1, 0.5)];
        profile.totals.time = Time { python_s: Some(4.0), native_s: Some(0.0), system_s: Some(0.0), ..Time::default() };
        profile.totals.outside_scope =
            Time { python_s: Some(3.0), native_s: Some(0.0), system_s: Some(0.0), ..Time::default() };
        let said = sentence(&profile).expect("most is hidden");
        assert!(said.contains("75% in /l/site-packages/tool)"), "{said}");
        assert!(said.contains("`--include tool`"), "{said}");
        profile.totals.outside_scope.python_s = Some(1.0);
        assert_eq!(sentence(&profile), None);
    }
}
