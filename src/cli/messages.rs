//! What is printed: everything that the command line writes to stdout and stderr.
//!
//! Invariant: stdout belongs to the profiled program while one runs. No other file writes to either stream: clippy.toml
//! refuses their names elsewhere. Neighbours: every command.
#![expect(clippy::disallowed_methods, reason = "the one place that prints")]

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Does stdout reach a terminal?
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Does stderr reach a terminal?
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Columns and rows of the terminal that stderr or stdout is.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    [libc::STDERR_FILENO, libc::STDOUT_FILENO].into_iter().find_map(|fd| {
        // SAFETY: all bytes zero is a valid winsize.
        let mut size: libc::winsize = unsafe { std::mem::zeroed() };
        // SAFETY: `size` has room for the answer.
        let answer = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
        (answer == 0 && size.ws_col > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
    })
}

/// Writes to stdout; a reader that has seen enough (`| head`) is no error.
pub(crate) fn print(bytes: &[u8]) {
    let _ = std::io::stdout().lock().write_all(bytes);
}

/// Says a line on stderr; a closed stderr leaves nobody to tell.
pub(crate) fn tell(line: &str) {
    tell_raw(&format!("{line}\n"));
}

pub(crate) fn tell_raw(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Work that takes longer is announced: a person who waits without a word thinks that the program hangs.
const SLOW: Duration = Duration::from_millis(500);

/// The end of work that may be slow: nothing is said any more once it is dropped.
pub(crate) struct MaybeSlow {
    _ended: Sender<()>,
}

/// Says `line` on stderr after half a second, unless the answer was dropped by then.
pub(crate) fn say_if_slow(line: &'static str) -> MaybeSlow {
    let (ended, has_ended): (Sender<()>, Receiver<()>) = bounded(0);
    // Without a thread nothing is said.
    let _ = std::thread::Builder::new().name("rscalene-slow".into()).spawn(move || {
        if has_ended.recv_timeout(SLOW) == Err(RecvTimeoutError::Timeout) {
            tell(line);
        }
    });
    MaybeSlow { _ended: ended }
}
