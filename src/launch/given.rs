//! The text of programs that are no files: `-c CODE`, and standard input behind `-`.
//!
//! Job: keep that text, so that its lines can be shown. Invariant: the program reads the same bytes from the same kind of
//! stream: a file is looked at without moving its position, a pipe is passed on as it is read, anything else is left
//! alone. Neighbours: `spawn` gives the child what [`Given::stdin`] answers, `run` and `output` ask for the text.

use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::words::Program;
use crate::profile::build::inline;

/// Bytes of text that are kept: more than anybody reads.
const MOST: usize = 16 << 20;

/// What standard input has given so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(Arc<Mutex<Vec<u8>>>);

impl Given {
    /// The stream that the program is to read instead of our own, if it must be another one for us to know its text.
    pub(crate) fn stdin(&self, program: &Program) -> Option<PipeReader> {
        let from_stdin =
            matches!(program, Program::Interpreter(words) if words.first().is_some_and(|word| word == "-"));
        if !from_stdin {
            return None;
        }
        let mut input = File::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
        let kind = input.metadata().ok()?.file_type();
        if kind.is_file() {
            let mut text = vec![0; MOST.min(usize::try_from(input.metadata().ok()?.len()).unwrap_or(MOST))];
            let start = std::io::Seek::stream_position(&mut input).ok()?;
            let mut length = 0;
            while let Ok(read @ 1..) = input.read_at(&mut text[length..], start + length as u64) {
                length += read;
            }
            text.truncate(length);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
        if !kind.is_fifo() {
            return None;
        }
        let (to_read, mut to_write) = std::io::pipe().ok()?;
        let kept = Arc::clone(&self.0);
        // Ends with the input, with the program's interest in it, or with us.
        let passing = std::thread::Builder::new().name("rscalene-stdin".into()).spawn(move || {
            let mut bytes = [0; 64 << 10];
            while let Ok(read @ 1..) = input.read(&mut bytes) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < MOST {
                    kept.extend_from_slice(&bytes[..read]);
                }
                drop(kept);
                if to_write.write_all(&bytes[..read]).is_err() {
                    return;
                }
            }
        });
        passing.is_ok().then_some(to_read)
    }

    /// The text under the name that its code objects carry.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (path == "<stdin>" && !bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The text of a program that stands on its own command line, under the name that its code objects carry.
pub(crate) fn on_command_line(command: &[String], path: &str) -> Option<String> {
    inline::text(command).filter(|_| path == inline::STRING).map(str::to_owned)
}
