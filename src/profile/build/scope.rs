//! Scope: the files whose lines are reported.
//!
//! Job: decide for a function whether its lines are rows of the report. Figures of a function out of scope are charged
//! to its innermost caller in scope. The question of a reader: *is this my code?* Invariant: pure; the rules look at
//! names, and ask [`Files`] for installed files. Neighbours: `commands::run` knows the command line and the
//! interpreter's folders, `code` asks once per function.
//!
//! By default the user's code is everything but
//! * the standard library (the folders that the caller names, and `lib/pythonX.Y/` anywhere),
//! * `site-packages` and `dist-packages`, wherever they lie (a virtual environment inside the project too),
//! * the profiler itself, and commands that installers made (`bin/pytest`),
//! * frozen modules, and code that libraries generate (`__init__` of dataclasses and attrs classes, namedtuple's
//!   lambdas, numpy's and decorator's wrappers): their time belongs to the line that calls them.
//!
//! Other pseudo files (`<string>` of `-c` and `exec`, `<stdin>`, notebook and doctest cells) are the user's own text
//! and are reported under their own names. A file that was named on the command line is the user's, wherever it lies.
//! Globs override all of this: `exclude` before `include` before the default.

use std::borrow::Cow;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::inline;
use super::text_of::{self, Files, is_pseudo};

/// The rules of the scope, as the launcher knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopeRules {
    /// Working directory of the target: relative file names and globs count from here.
    pub cwd: String,
    /// True if all files are in scope.
    pub all: bool,
    /// Globs of files to add.
    pub include: Vec<String>,
    /// Globs of files to remove.
    pub exclude: Vec<String>,
    /// Absolute folders of libraries: the interpreter's `stdlib`, `platstdlib`, `purelib`, `platlib`, and the folders
    /// of the profiler.
    pub libraries: Vec<String>,
    /// Absolute paths of the scripts named on the command line.
    pub scripts: Vec<String>,
}

/// A glob with a syntax error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadGlob {
    /// The glob as the user wrote it.
    pub glob: String,
    /// The error.
    pub why: String,
}

impl std::fmt::Display for BadGlob {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "cannot use the glob `{}`: {}", self.glob, self.why)
    }
}

impl std::error::Error for BadGlob {}

/// The rules, ready for use.
#[derive(Clone, Debug)]
pub struct Scope {
    rules: ScopeRules,
    include: GlobSet,
    exclude: GlobSet,
    files: Option<Arc<dyn Files>>,
}

impl Scope {
    /// Prepares the rules.
    ///
    /// # Errors
    /// When a glob cannot be parsed.
    pub fn new(mut rules: ScopeRules) -> Result<Self, BadGlob> {
        let include = globs(&rules.cwd, &rules.include)?;
        let exclude = globs(&rules.cwd, &rules.exclude)?;
        rules.scripts = rules.scripts.iter().map(|script| join(&rules.cwd, script)).collect();
        Ok(Self { rules, include, exclude, files: None })
    }

    /// The same rules, which ask `files` about the files on the disk.
    #[must_use]
    pub fn with_files(self, files: Arc<dyn Files>) -> Self {
        Self { files: Some(files), ..self }
    }

    /// The source of facts about files; `None` if the rules may ask no disk.
    pub(crate) fn files(&self) -> Option<&Arc<dyn Files>> {
        self.files.as_ref()
    }

    /// Scripts named on the command line, as absolute paths.
    pub(crate) fn scripts(&self) -> &[String] {
        &self.rules.scripts
    }

    /// True if the report shows the lines of source text that the user wrote and that lies in no file, such as the
    /// program of `-c`.
    #[must_use]
    pub(crate) fn holds_own_text(&self, path: &str) -> bool {
        !self.exclude.is_match(path)
    }

    /// Adds a folder of libraries, for an interpreter whose folders were unknown before. The folder counts for
    /// functions defined from now on.
    pub fn add_library(&mut self, folder: String) {
        if !self.rules.libraries.contains(&folder) {
            self.rules.libraries.push(folder);
        }
    }

    /// The name of a file as the report shows it: absolute, without `.` and `..`; pseudo files unchanged.
    #[must_use]
    pub fn absolute<'a>(&self, filename: &'a str) -> Cow<'a, str> {
        let plain = filename.starts_with('/')
            && !filename.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..");
        if plain || filename.is_empty() || is_pseudo(filename) {
            Cow::Borrowed(filename)
        } else {
            Cow::Owned(join(&self.rules.cwd, filename))
        }
    }

    /// True if the lines of this function are reported. `path` is a result of [`Scope::absolute`].
    #[must_use]
    pub fn holds(&self, path: &str, qualname: &str, first_line: u32) -> bool {
        if self.exclude.is_match(path) {
            return false;
        }
        self.rules.all
            || self.include.is_match(path)
            || self.rules.scripts.iter().any(|script| script == path)
            || !(is_generated(path, qualname, first_line) || (!is_pseudo(path) && self.is_library(path)))
    }

    fn is_library(&self, path: &str) -> bool {
        path.is_empty()
            || lies_in_library(path)
            || is_installed_command(path)
            || lies_in_wheel(path)
            || self.rules.libraries.iter().any(|folder| lies_under(path, folder))
            || self.files.as_ref().is_some_and(|files| files.is_installed(path))
    }
}

/// True for generated code, of the interpreter or of a library.
fn is_generated(path: &str, qualname: &str, first_line: u32) -> bool {
    const MAKERS: [&str; 13] = [
        "<frozen ",
        inline::HELPER,
        "<attrs generated",
        "<__array_function__ internals",
        "<decorator-gen-",
        "<unknown>",
        "<boltons.",
        "<class '",
        "<lambdifygenerated-",
        "<makefun-gen-",
        "<template>",
        "<werkzeug routing>",
        "<sqlalchemy generated ",
    ];
    MAKERS.iter().any(|maker| path.starts_with(maker))
        || (text_of::is_text(path)
            && (qualname.starts_with("__create_fn__.") || (qualname == "<lambda>" && first_line == 1)))
}

/// True for paths through `site-packages`, `dist-packages`, `lib/python3.11/…`, `python311.zip/…`.
fn lies_in_library(path: &str) -> bool {
    let mut before = "";
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return false;
        }
        let version = part.strip_prefix("python").unwrap_or("");
        let stdlib = matches!(before, "lib" | "lib64")
            && version.trim_end_matches('t').split_once('.').is_some_and(|(major, minor)| {
                major == "3" && !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit())
            });
        let zipped =
            version.strip_suffix(".zip").is_some_and(|digits| digits.starts_with('3') && digits.parse::<u32>().is_ok());
        if matches!(part, "site-packages" | "dist-packages") || stdlib || zipped {
            return true;
        }
        before = part;
    }
    false
}

/// True for paths through an unpacked wheel or a PEX file's own folder of libraries:
/// `~/.pex/installed_wheels/0/a1/idna-3.4-py3-none-any.whl/idna/core.py`, `app.pex/.bootstrap/pex/pex.py`.
fn lies_in_wheel(path: &str) -> bool {
    let mut folders = path.split('/');
    folders.next_back();
    folders.any(|part| part.ends_with(".whl") || matches!(part, ".bootstrap" | ".deps"))
}

/// True for a command made by an installer: `/venv/bin/pytest`.
fn is_installed_command(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (name, folder) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    folder == "bin" && !name.contains('.')
}

fn lies_under(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    !folder.is_empty() && path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Makes `path` absolute and resolves `.` and `..` by text alone (links are not followed).
fn join(cwd: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{cwd}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Compiles globs. A glob without `/` matches any component of a path (a folder matches with all files below). A glob
/// with `/` counts from the working directory, or from the root if it starts with `/`.
fn globs(cwd: &str, patterns: &[String]) -> Result<GlobSet, BadGlob> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let bad = |error: &globset::Error| BadGlob { glob: pattern.clone(), why: error.kind().to_string() };
        let trimmed = pattern.trim_end_matches('/');
        let anchored = if is_pseudo(trimmed) {
            trimmed.to_owned()
        } else if !trimmed.contains('/') {
            format!("**/{trimmed}")
        } else if trimmed.starts_with('/') || trimmed.starts_with("**/") {
            trimmed.to_owned()
        } else {
            let cwd = globset::escape(cwd.trim_end_matches('/'));
            format!("{cwd}/{}", trimmed.trim_start_matches("./"))
        };
        for form in [anchored.clone(), format!("{anchored}/**")] {
            set.add(GlobBuilder::new(&form).literal_separator(true).build().map_err(|error| bad(&error))?);
        }
    }
    set.build().map_err(|error| BadGlob { glob: patterns.join(", "), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::{Scope, ScopeRules};

    fn scope(include: &[&str], exclude: &[&str]) -> Scope {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect();
        Scope::new(ScopeRules {
            cwd: "/w".to_owned(),
            include: owned(include),
            exclude: owned(exclude),
            libraries: vec!["/opt/py/Lib".to_owned()],
            scripts: vec!["/v/lib/python3.12/site-packages/tool/__main__.py".to_owned()],
            ..ScopeRules::default()
        })
        .expect("the globs are good")
    }

    fn holds(scope: &Scope, path: &str) -> bool {
        scope.holds(&scope.absolute(path), "f", 3)
    }

    #[test]
    fn the_users_files_are_in_scope_and_libraries_are_not() {
        let scope = scope(&[], &[]);
        for mine in ["app.py", "/home/u/pkg/mod.py", "/w/site-packages.py", "<string>", "<stdin>", "<doctest a[0]>"] {
            assert!(holds(&scope, mine), "{mine}");
        }
        for other in [
            "/usr/lib/python3.13/json/decoder.py",
            "/w/.venv/lib/python3.11/site-packages/numpy/core.py",
            "/usr/lib/python3/dist-packages/apt.py",
            "/opt/py/Lib/os.py",
            "/usr/lib/python314.zip/os.py",
            "/opt/free/lib/python3.14t/os.py",
            "/w/.venv/bin/pytest",
            "<frozen importlib._bootstrap>",
            "",
        ] {
            assert!(!holds(&scope, other), "{other}");
        }
    }

    #[test]
    fn a_folder_that_only_starts_like_a_library_is_the_users() {
        let scope = scope(&[], &[]);
        assert!(holds(&scope, "/opt/py/Library/x.py"));
        assert!(holds(&scope, "/home/u/lib/pythonic/x.py"));
    }

    #[test]
    fn the_file_that_was_run_is_in_scope_wherever_it_lies() {
        let scope = scope(&[], &[]);
        assert!(holds(&scope, "/v/lib/python3.12/site-packages/tool/__main__.py"));
        assert!(!holds(&scope, "/v/lib/python3.12/site-packages/tool/other.py"));
    }

    #[test]
    fn time_in_generated_library_code_belongs_to_its_caller() {
        let scope = scope(&[], &[]);
        assert!(!scope.holds("<string>", "__create_fn__.<locals>.__init__", 2));
        assert!(!scope.holds("<string>", "<lambda>", 1));
        assert!(!scope.holds("<sqlalchemy generated warned() wrapper for s.Session.flush>", "flush", 2));
        assert!(!scope.holds("<attrs generated init m.C>", "__init__", 1));
        assert!(scope.holds("<string>", "<module>", 1));
    }

    #[test]
    fn exclude_wins_over_include_and_include_over_the_default() {
        let scope = scope(&["json", "src/*.py"], &["**/decoder.py", "gen_*.py"]);
        assert!(holds(&scope, "/usr/lib/python3.13/json/encoder.py"));
        assert!(!holds(&scope, "/usr/lib/python3.13/json/decoder.py"));
        assert!(!holds(&scope, "/w/gen_tables.py"));
        assert!(holds(&scope, "src/a.py"));
    }

    #[test]
    fn relative_names_become_absolute_and_plain() {
        let scope = scope(&[], &[]);
        assert_eq!(scope.absolute("./a/../b.py"), "/w/b.py");
        assert_eq!(scope.absolute("/x//y/./z.py"), "/x/y/z.py");
        assert_eq!(scope.absolute("<string>"), "<string>");
    }

    #[test]
    fn a_broken_glob_is_named() {
        let bad = Scope::new(ScopeRules { include: vec!["a[".to_owned()], ..ScopeRules::default() }).expect_err("bad");
        assert!(bad.to_string().contains("`a[`"), "{bad}");
    }
}
