//! The version of an interpreter, asked before the program starts.
//!
//! Job: refuse an unsupported Python, so `run` starts nothing in vain. Invariant: an interpreter without a clear answer
//! is not refused. Callers: `commands::run::plan`, and `doctor` for its verdict.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::program::{Start, interpreter_of_script};
use crate::cli::error::{EXIT_CANNOT_RUN, Error};

/// The supported versions, for messages.
pub(crate) const SUPPORTED: &str = "CPython 3.11 to 3.15 is supported";

/// Prints `cpython 3.10.13`; understood by every Python from 2.7 on.
const QUESTION: &str = "\
import sys
name = getattr(sys, 'implementation', None)
print((name.name if name else 'python') + ' %d.%d.%d' % sys.version_info[:3])";

/// The longest wait for the answer: a wrapper may ask the user for something first.
const LONGEST: Duration = Duration::from_secs(5);

/// A Python version as `PY_VERSION_HEX` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(pub(crate) u32);

impl Version {
    /// Is this a supported version, 3.11 to 3.15?
    pub(crate) fn is_supported(self) -> bool {
        let [major, minor, ..] = self.0.to_be_bytes();
        major == 3 && (11..=15).contains(&minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, micro, _] = self.0.to_be_bytes();
        write!(out, "{major}.{minor}.{micro}")
    }
}

/// Refuses a program of an unsupported Python. `own` is the interpreter of rscalene itself; its version is known.
///
/// # Errors
/// The interpreter tells an implementation or a version that is not supported.
pub(crate) fn refuse_unsupported(start: &Start, own: &Path) -> Result<(), Error> {
    let Some(interpreter) = python_of(&start.executable) else { return Ok(()) };
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if real(&interpreter).is_some_and(|path| real(own) == Some(path)) {
        return Ok(());
    }
    let Some(found) = name_if_unsupported(&interpreter) else { return Ok(()) };
    Err(Error::new(
        EXIT_CANNOT_RUN,
        format!("cannot profile `{}`: {found} is not supported", interpreter.display()),
        format!("{SUPPORTED}: `--python PATH` names another interpreter"),
    ))
}

/// `Python 3.10.13` if the interpreter tells an unsupported version. Runs the interpreter.
pub(crate) fn name_if_unsupported(interpreter: &Path) -> Option<String> {
    ask(interpreter).and_then(|answer| unsupported(&answer))
}

/// The Python of the executable: the file itself by its name (also a version manager's script of that name), or
/// the interpreter in its first line.
fn python_of(executable: &Path) -> Option<PathBuf> {
    if is_named_python(executable) {
        return Some(executable.to_path_buf());
    }
    interpreter_of_script(executable).filter(|path| is_named_python(path))
}

/// True for names such as `python`, `python3.10` and `pypy3`.
fn is_named_python(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let rest = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    rest.is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_digit() || letter == '.'))
}

/// The interpreter's answer to [`QUESTION`]; `None` if it fails or takes too long.
fn ask(interpreter: &Path) -> Option<String> {
    let mut command = Command::new(interpreter);
    command.args(["-E", "-S", "-c", QUESTION]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let until = Instant::now() + LONGEST;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut answer = String::new();
    // The answer fits into the pipe; more than 256 bytes are no answer.
    child.stdout.take()?.take(256).read_to_string(&mut answer).ok()?;
    ended.success().then(|| answer.lines().next().unwrap_or_default().to_owned())
}

/// The words for an unsupported interpreter, such as `Python 3.10.13`; `None` for a supported one and for no clear
/// answer.
fn unsupported(answer: &str) -> Option<String> {
    let (implementation, version) = answer.trim().split_once(' ')?;
    let mut numbers = version.split('.').map(|number| number.parse::<u8>().ok());
    let (major, minor, micro) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let known = implementation == "cpython" || implementation == "python";
    let supported = known && Version(u32::from_be_bytes([major, minor, micro, 0])).is_supported();
    let shown = if known { "Python".to_owned() } else { format!("`{implementation}`") };
    (!supported).then(|| format!("{shown} {version}"))
}

#[cfg(test)]
mod tests {
    use super::unsupported;

    #[test]
    fn only_a_clear_answer_of_an_unsupported_python_is_refused() {
        for supported in ["cpython 3.11.0", "cpython 3.15.2"] {
            assert_eq!(unsupported(supported), None);
        }
        for unclear in ["", "hello", "cpython", "cpython three", "cpython 3.10"] {
            assert_eq!(unsupported(unclear), None, "{unclear}");
        }
        assert_eq!(unsupported("cpython 3.10.13").as_deref(), Some("Python 3.10.13"));
        assert_eq!(unsupported("cpython 3.16.0").as_deref(), Some("Python 3.16.0"));
        assert_eq!(unsupported("python 2.7.18").as_deref(), Some("Python 2.7.18"));
        assert_eq!(unsupported("pypy 3.11.13").as_deref(), Some("`pypy` 3.11.13"));
    }
}
