//! Finds the executable and the arguments for the words that the user typed.
//!
//! Invariant: the program gets the same words as without rscalene: `python app.py args` for a script, the command
//! itself for everything else. Neighbours: `cli::argv` has the arguments, `spawn` starts the program.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cli::argv::Program;
use crate::cli::error::{EXIT_CANNOT_RUN, EXIT_NOT_FOUND, EXIT_USAGE, Error};

/// A program, ready to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// File to execute.
    pub(crate) executable: PathBuf,
    /// All arguments, the program's own name first.
    pub(crate) argv: Vec<OsString>,
    /// Script that the interpreter runs by name: its lines are in scope wherever the script lies.
    pub(crate) script: Option<PathBuf>,
    /// The package of an installed program that the user runs (`-m PACKAGE`, or a command made by pip).
    pub(crate) package: Option<String>,
}

/// Programs that run other people's code. The lines of their own packages are out of scope, as those of libraries are.
const RUNNERS: [&str; 34] = [
    "IPython",
    "airflow",
    "behave",
    "bpython",
    "celery",
    "cherrypy",
    "coverage",
    "daphne",
    "dask",
    "debugpy",
    "django",
    "fabric",
    "flask",
    "gunicorn",
    "honcho",
    "hypercorn",
    "invoke",
    "ipykernel",
    "jupyter",
    "jupyter_core",
    "locust",
    "nbclient",
    "nox",
    "papermill",
    "prefect",
    "ptpython",
    "pytest",
    "ray",
    "scrapy",
    "streamlit",
    "tox",
    "twisted",
    "uvicorn",
    "waitress",
];

/// Finds the file to execute and its words. `interpreter` is the interpreter for Python programs.
pub(crate) fn resolve(program: &Program, interpreter: &Path) -> Result<Start, Error> {
    match program {
        Program::Missing => {
            Err(Error::new(EXIT_USAGE, "nothing to run", "name a script, `-m MODULE`, `-c CODE` or a command"))
        }
        Program::Interpreter(argv) => {
            let start = with_interpreter(interpreter, argv.iter().cloned(), None)?;
            Ok(Start { package: module(argv), ..start })
        }
        Program::Named(name, arguments) => {
            let path = Path::new(name);
            if is_python_program(path) {
                let argv = std::iter::once(name.clone()).chain(arguments.iter().cloned());
                return with_interpreter(interpreter, argv, Some(path.to_path_buf()));
            }
            let executable = find(name)?;
            let installed = is_script(&executable).then(|| installed_package(&executable)).flatten();
            let script = (is_script(&executable) && installed.is_none()).then(|| executable.clone());
            let package = installed.filter(|package| !runs_others(package));
            let argv = std::iter::once(name.clone()).chain(arguments.iter().cloned()).collect();
            Ok(Start { executable, argv, script, package })
        }
    }
}

fn with_interpreter(
    interpreter: &Path,
    argv: impl Iterator<Item = OsString>,
    script: Option<PathBuf>,
) -> Result<Start, Error> {
    let executable = find(interpreter.as_os_str()).map_err(|error| {
        Error::new(error.code, error.message, "`--python` names the interpreter, by path or by a name on PATH")
    })?;
    let argv = std::iter::once(interpreter.as_os_str().to_owned()).chain(argv).collect();
    Ok(Start { executable, argv, script, package: None })
}

/// Does the package run other people's code? Names such as `_pytest` count like `pytest`: some packages keep their code
/// in a private package.
fn runs_others(package: &str) -> bool {
    RUNNERS.contains(&package.trim_start_matches('_'))
}

/// The package that `-m` names, unless [`runs_others`].
fn module(arguments: &[OsString]) -> Option<String> {
    let at = arguments.iter().position(|word| word == "-m")?;
    let package = arguments.get(at + 1)?.to_str()?.split('.').next()?;
    (!package.is_empty() && !runs_others(package)).then(|| package.to_owned())
}

/// The package behind a command made by an installer. Such a command is a script in the same folder as an interpreter,
/// and imports one function.
fn installed_package(script: &Path) -> Option<String> {
    let folder = script.parent()?;
    if !["python3", "python"].iter().any(|name| folder.join(name).exists()) {
        return None;
    }
    let mut start = [0; 2048];
    let read = fs::File::open(script).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let text = String::from_utf8_lossy(start.get(..read)?).into_owned();
    let import = text.lines().find_map(|line| line.trim().strip_prefix("from ")?.split_once(" import "))?;
    let package = import.0.split('.').next()?.trim();
    let named = !package.is_empty() && package.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (named && text.contains("sys.exit(")).then(|| package.to_owned())
}

/// Would `python PATH` run the file? True for source and byte code (by their endings), for packages and zip files (by
/// their contents), and for plain text without the right to execute.
fn is_python_program(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or("").to_ascii_lowercase();
    if path.is_dir() {
        return path.join("__main__.py").exists() || path.join("__main__.pyc").exists();
    }
    if !path.is_file() {
        return false;
    }
    if matches!(ending.as_str(), "py" | "pyw" | "pyc" | "pyz" | "pyzw") {
        return true;
    }
    if is_executable(path) {
        return false;
    }
    let mut start = [0; 512];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let start = start.get(..read).unwrap_or(&[]);
    start.starts_with(b"PK\x03\x04") || (!start.contains(&0) && ending != "sh")
}

/// Does the `#!` line of the text name a Python interpreter?
fn is_script(path: &Path) -> bool {
    let mut start = [0; 256];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let start = start.get(..read).unwrap_or(&[]);
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    // If the path of the interpreter is long or has blanks, installers write a shell script whose second line starts
    // the interpreter.
    let by_shell = line == b"#!/bin/sh" && start[line.len()..].starts_with(b"\n'''exec' ");
    by_shell || line.starts_with(b"#!") && line.windows(6).any(|window| window == b"python")
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Finds a command on `PATH`, as a shell does.
pub(crate) fn find(name: &OsStr) -> Result<PathBuf, Error> {
    let shown = name.to_string_lossy();
    let path = Path::new(name);
    if shown.contains('/') {
        return match fs::metadata(path) {
            Err(error) => Err(Error::new(
                EXIT_NOT_FOUND,
                format!("cannot run `{shown}`: {}", reason(&error)),
                "check the path; `-m MODULE` runs a module, a name without `/` is looked up on PATH",
            )),
            Ok(metadata) if metadata.is_dir() => Err(Error::new(
                EXIT_CANNOT_RUN,
                format!("cannot run `{shown}`: it is a folder without `__main__.py`"),
                "name a script in it, or run a package with `-m PACKAGE`",
            )),
            Ok(_) if !is_executable(path) => Err(Error::new(
                EXIT_CANNOT_RUN,
                format!("cannot run `{shown}`: permission denied"),
                "make it executable with `chmod +x`, or run it with its interpreter",
            )),
            Ok(_) => Ok(path.to_path_buf()),
        };
    }
    let search = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let found = std::env::split_paths(&search).map(|folder| folder.join(path)).find(|file| is_executable(file));
    found.ok_or_else(|| {
        if path.is_dir() {
            return Error::new(
                EXIT_CANNOT_RUN,
                format!("cannot run `{shown}`: it is a folder without `__main__.py`"),
                "name a script in it, or run a package with `-m PACKAGE`",
            );
        }
        if path.is_file() {
            return Error::new(
                EXIT_CANNOT_RUN,
                format!("cannot run `{shown}`: it is no Python script (`.py`), and no command of that name is on PATH"),
                format!("to run the file itself, type `./{shown}`"),
            );
        }
        let ending = path.extension().and_then(OsStr::to_str);
        let hint = if ending == Some("py") {
            "check the name and the folder you are in"
        } else {
            "check the name; scripts of the current folder are named with their ending, modules run with `-m`"
        };
        Error::new(EXIT_NOT_FOUND, format!("cannot run `{shown}`: no such file or command"), hint)
    })
}

fn reason(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file",
        std::io::ErrorKind::PermissionDenied => "permission denied",
        _ => "it cannot be read",
    }
}

/// Why `LD_PRELOAD` has no effect on this executable; `None` if it has.
pub(crate) fn unreachable(executable: &Path) -> Option<(String, String)> {
    let named = interpreter_of_script(executable);
    let executable = named.as_deref().unwrap_or(executable);
    unreachable_as(executable, executable)
}

/// The same for a file that messages call `shown`.
pub(crate) fn unreachable_as(executable: &Path, shown: &Path) -> Option<(String, String)> {
    let metadata = fs::metadata(executable).ok()?;
    let shown = shown.display();
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if metadata.mode() & 0o6000 != 0 && !root {
        return Some((
            format!("`{shown}` is setuid or setgid: the system lets no library be preloaded into it"),
            "profile the program that it starts, as the user it runs as".to_owned(),
        ));
    }
    if has_capabilities(executable) && !root {
        return Some((
            format!("`{shown}` has file capabilities: the system lets no library be preloaded into it"),
            format!("use a copy without them (`cp {shown} COPY`), or run `rscalene` as root"),
        ));
    }
    let bytes = fs::read(executable).ok()?;
    match interpreter_of(&bytes)? {
        None => Some((
            format!("`{shown}` is statically linked: no library can be preloaded into it"),
            "use an interpreter that is linked dynamically".to_owned(),
        )),
        Some(loader) if loader.contains("musl") => Some((
            format!("`{shown}` uses musl: only glibc is supported"),
            "use an interpreter built for glibc 2.28 or later".to_owned(),
        )),
        Some(_) => None,
    }
}

/// The interpreter in the `#!` line of a script, by path or behind `env`.
pub(crate) fn interpreter_of_script(path: &Path) -> Option<PathBuf> {
    let mut start = [0; 256];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let line = start.get(..read)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let mut parts = line.split_ascii_whitespace();
    let first = parts.next()?;
    if first.ends_with("/env") {
        return find(parts.find(|word| !word.starts_with('-') && !word.contains('='))?.as_ref()).ok();
    }
    Some(PathBuf::from(first))
}

/// Does the file give its process capabilities (`setcap`)?
fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both names end with NUL; with size 0 the kernel writes nothing and returns the length.
    unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

/// The dynamic loader of an ELF file. `None` if this is no ELF file, `Some(None)` if the file names no loader.
fn interpreter_of(bytes: &[u8]) -> Option<Option<String>> {
    use object::read::elf::{FileHeader, ProgramHeader};
    let header = object::elf::FileHeader64::<object::Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    for segment in header.program_headers(endian, bytes).ok()? {
        if let Ok(Some(name)) = segment.interpreter(endian, bytes) {
            return Some(Some(String::from_utf8_lossy(name).into_owned()));
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_linked_dynamically_and_text_is_no_program() {
        assert!(interpreter_of(&fs::read("/bin/sh").expect("there is a shell")).flatten().is_some());
        assert_eq!(interpreter_of(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn a_missing_command_is_127_and_a_file_that_cannot_be_executed_126() {
        assert_eq!(find(OsStr::new("no-such-command-at-all")).map_err(|error| error.code), Err(EXIT_NOT_FOUND));
        assert_eq!(find(OsStr::new("/etc/passwd")).map_err(|error| error.code), Err(EXIT_CANNOT_RUN));
        assert_eq!(find(OsStr::new("/no/such/file")).map_err(|error| error.code), Err(EXIT_NOT_FOUND));
    }
}
