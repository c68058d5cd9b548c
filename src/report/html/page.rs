//! Data and helpers that all views of the page use.
//!
//! Job: hold the profile with the names and texts of its files; name the program; compute hashes for the policy.
//! Invariant: names and texts are in the order of the profile's files. Neighbours: [`super::render_html`] makes a
//! [`Page`], every view reads it.

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::names::FileName;
use super::text_of_files::FileText;
use crate::profile::model::{File, Profile, Time};
use crate::report::view::cpu_s;

/// Options of the page.
#[derive(Clone, Copy, Debug)]
pub struct HtmlOptions {
    /// Show source text. Without this option the page holds no text, neither from files nor from the profile.
    pub source: bool,
    /// Lines of annotated source that the page shows without JavaScript, and prints.
    pub static_lines: usize,
}

impl Default for HtmlOptions {
    fn default() -> Self {
        Self { source: true, static_lines: 600 }
    }
}

/// Input of every view.
pub(super) struct Page<'a> {
    pub(super) profile: &'a Profile,
    pub(super) names: Vec<FileName>,
    pub(super) texts: Vec<FileText>,
}

impl<'a> Page<'a> {
    pub(super) fn new(profile: &'a Profile, source: bool, read_source: &dyn Fn(&str) -> Option<String>) -> Self {
        let text = |file: &File| match source {
            true => FileText::new(file, read_source(&file.path)),
            false => FileText::default(),
        };
        Self { profile, names: FileName::all(profile), texts: profile.files.iter().map(text).collect() }
    }

    /// The index of `file` in the profile.
    pub(super) fn index(&self, file: &File) -> usize {
        self.profile.files.iter().position(|other| std::ptr::eq(other, file)).unwrap_or(0)
    }
}

/// The source expression of a content security policy that allows exactly `text`.
pub(super) fn hash(text: &str) -> String {
    format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// Short name of the program: its script, module or command.
pub(super) fn program(profile: &Profile) -> String {
    let command = &profile.target.command;
    let is_python = |word: &str| word.rsplit('/').next().unwrap_or(word).starts_with("python");
    let own = match command.first() {
        Some(first) if is_python(first) => command.get(1..).unwrap_or_default(),
        _ => command.as_slice(),
    };
    let name = match own.iter().position(|word| !word.starts_with('-')) {
        Some(at) if at > 0 && own[at - 1] == "-m" => format!("python -m {}", own[at]),
        Some(at) if at > 0 && own[at - 1] == "-c" => "python -c".to_owned(),
        // A statement of a notebook: a `/` in it may be a division, so the statement is not a path.
        Some(at) if own[at].starts_with('%') => own[at].clone(),
        Some(at) => own[at].rsplit('/').next().unwrap_or(&own[at]).to_owned(),
        None => command.first().cloned().unwrap_or_default(),
    };
    if name.is_empty() { "profile".to_owned() } else { name }
}

/// CPU seconds of all kinds, the key of every ranking; 0 if unknown.
pub(super) fn total_s(time: &Time) -> f64 {
    cpu_s(time).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_named_by_its_script_or_module() {
        let named = |words: &[&str]| {
            let mut profile = Profile::default();
            profile.target.command = words.iter().map(|w| (*w).to_owned()).collect();
            program(&profile)
        };
        assert_eq!(named(&["/usr/bin/python3", "-X", "src/app.py", "x"]), "app.py");
        assert_eq!(named(&["python", "-m", "http.server"]), "python -m http.server");
        assert_eq!(named(&["gunicorn", "app:app"]), "gunicorn");
        assert_eq!(named(&["%rscalene f(a / b)"]), "%rscalene f(a / b)");
        assert_eq!(named(&[]), "profile");
    }
}
