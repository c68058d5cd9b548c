//! Writes to stdout and stderr for all commands.
//!
//! Invariant: while a profiled program runs, rscalene writes nothing to stdout. No other file writes to either stream:
//! clippy.toml refuses the names of the streams elsewhere. Callers: every command.
#![expect(clippy::disallowed_methods, reason = "the one place that prints")]

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::cli::error::{EXIT_NO_PROFILE, Error};

/// Is stdout a terminal?
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Is stderr a terminal?
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Columns and rows of the terminal behind stderr or stdout.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    [libc::STDERR_FILENO, libc::STDOUT_FILENO].into_iter().find_map(|fd| {
        // SAFETY: all bytes zero is a valid winsize.
        let mut size: libc::winsize = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one winsize, and `size` is one.
        let answer = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
        (answer == 0 && size.ws_col > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
    })
}

/// Writes to stdout, and waits until the bytes are written. A reader that closes the pipe early (`| head`) is no error.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let hint = "send the output elsewhere, for example to a disk that has room: `> FILE`";
            Err(Error::new(EXIT_NO_PROFILE, format!("cannot write to stdout: {error}"), hint))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr. Errors are ignored: with stderr closed there is no other place for the message.
pub(crate) fn tell(line: &str) {
    tell_raw(&format!("{line}\n"));
}

pub(crate) fn tell_raw(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Time after which slow work is announced, because a silent program seems to hang.
const SLOW: Duration = Duration::from_millis(500);

/// Guard of work that may be slow. Dropping it before [`SLOW`] has passed cancels the message.
pub(crate) struct MaybeSlow {
    _ended: Sender<()>,
}

/// Writes `line` to stderr after half a second, unless the caller has dropped the guard by then.
pub(crate) fn say_if_slow(line: &'static str) -> MaybeSlow {
    let (ended, has_ended): (Sender<()>, Receiver<()>) = bounded(0);
    // If the thread cannot be started, no message is written.
    let _ = std::thread::Builder::new().name("rscalene-slow".into()).spawn(move || {
        if has_ended.recv_timeout(SLOW) == Err(RecvTimeoutError::Timeout) {
            tell(line);
        }
    });
    MaybeSlow { _ended: ended }
}
