//! Writes a report to a file, and finds the format by the ending of the file's name.
//!
//! Invariant: a reader sees the old file or the complete new file, never a part. If the new file cannot be written, the
//! old file stays. Callers: `commands::output` and `bindings` save reports.

use std::fs;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cli::error::{EXIT_NO_PROFILE, EXIT_USAGE, Error};
use crate::report::export::Format;

/// The format of a file, by the ending of its name. An unknown ending is a usage error.
pub(crate) fn format_of(path: &Path) -> Result<Format, Error> {
    Format::of(path).ok_or_else(|| {
        Error::new(
            EXIT_USAGE,
            format!("cannot tell the format of `{}` by its ending", path.display()),
            format!("end it in one of {}", Format::endings()),
        )
    })
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room, or name a file on another disk with `-o`",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "name a file that you may write with `-o`",
        _ => "name another file with `-o`",
    };
    Error::new(EXIT_NO_PROFILE, format!("cannot write `{}`: {error}", path.display()), hint)
}

/// Writes the bytes of a report to a file. Large reports pass piece by piece, so that they never stand in memory whole.
pub(crate) type WriteTo<'a> = &'a dyn Fn(&mut dyn Write) -> std::io::Result<()>;

/// Writes the file that `content` fills.
pub(crate) fn write_whole(path: &Path, content: WriteTo<'_>) -> std::io::Result<()> {
    // A rename would replace a device or a pipe with a plain file, so write into the device or pipe.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return buffered(fs::OpenOptions::new().write(true).open(path)?, content);
    }
    let mut file = new_file(folder_of(path))?;
    buffered(&mut file, content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A new file in the folder, which gets its name when it is whole.
fn new_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(".rscalene-").tempfile_in(folder).map_err(|error| {
        // The text of `tempfile`'s error has the new file's name, which tells the user nothing.
        let number = match error.kind() {
            ErrorKind::NotFound => libc::ENOENT,
            ErrorKind::PermissionDenied => libc::EACCES,
            ErrorKind::ReadOnlyFilesystem => libc::EROFS,
            ErrorKind::StorageFull => libc::ENOSPC,
            ErrorKind::QuotaExceeded => libc::EDQUOT,
            _ => return error,
        };
        std::io::Error::from_raw_os_error(number)
    })
}

fn buffered(file: impl Write, content: WriteTo<'_>) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    content(&mut out)?;
    out.flush()
}

/// Writes the file unless a file of this name appeared or changed after `since`; returns false in the latter case. If
/// two processes create the file at the same time, the second gets false.
pub(crate) fn write_unless_newer(path: &Path, content: WriteTo<'_>, since: SystemTime) -> std::io::Result<bool> {
    match fs::metadata(path) {
        Ok(facts) if facts.is_file() && facts.modified().is_ok_and(|written| written > since) => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut file = new_file(folder_of(path))?;
            buffered(&mut file, content)?;
            match file.persist_noclobber(path) {
                Ok(_) => Ok(true),
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error.error),
            }
        }
        _ => write_whole(path, content).map(|()| true),
    }
}

/// Puts `word`, such as a process id, before the ending of a file name: `out.json` becomes `out.4711.json`.
pub(crate) fn beside(path: &Path, word: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let end = Format::ending(&name).unwrap_or(name.len());
    path.with_file_name(format!("{}.{word}{}", &name[..end], &name[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_appeared_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.speedscope.json");
        let begun = SystemTime::now() - std::time::Duration::from_secs(5);
        assert!(write_unless_newer(&path, &|out| out.write_all(b"one"), begun).expect("writable"));
        assert!(!write_unless_newer(&path, &|out| out.write_all(b"two"), begun).expect("readable"));
        assert_eq!(fs::read(&path).expect("there"), b"one");
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        assert!(write_unless_newer(&path, &|out| out.write_all(b"two"), later).expect("writable"));
        assert_eq!(fs::read(&path).expect("there"), b"two");
        assert_eq!(beside(&path, "7"), folder.path().join("out.7.speedscope.json"));
    }
}
