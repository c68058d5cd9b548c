//! The text of programs without a file: `-c CODE`, and standard input behind `-`.
//!
//! Job: keep the text, so that the report can show its lines. Invariant: the program reads the same bytes from the same
//! kind of stream. If standard input is a file, this code reads the file without moving its position. If it is a pipe,
//! a thread passes the bytes on as they arrive. Any other stream stays untouched. Neighbours: `spawn` gives the child
//! the stream of [`StdinText::stdin`]; `commands::run` and `commands::output` ask for the text.

use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::argv::Program;
use crate::profile::build::inline;

/// Most bytes of text to keep.
const MOST: usize = 16 << 20;

/// The bytes read from standard input so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct StdinText(Arc<Mutex<Vec<u8>>>);

impl StdinText {
    /// The stream to give the program as standard input; `None` if the program reads the launcher's standard input
    /// itself.
    pub(crate) fn stdin(&self, program: &Program) -> Option<PipeReader> {
        let from_stdin = matches!(program, Program::Interpreter(args) if args.first().is_some_and(|word| word == "-"));
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
        // The thread ends at the end of the input, with the launcher, or when the program closes its end of the pipe.
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

    /// The text of standard input, if `path` is the file name of its code objects (`<stdin>`).
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (path == "<stdin>" && !bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The code behind `-c` on a command line, if `path` is the file name of its code objects (`<string>`).
pub(crate) fn on_command_line(command: &[String], path: &str) -> Option<String> {
    inline::text(command).filter(|_| path == inline::STRING).map(str::to_owned)
}
