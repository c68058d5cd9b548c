//! The text of source files.
//!
//! Job: read a source file, line by line as Python counts. Neighbours: `commands`, `bindings`,
//! `launch` and `inprocess` show or keep lines.

use std::fs;

/// The text of a source file: UTF-8, or else Latin-1, which cannot fail; `None` if the file cannot be read, or its name
/// is one of a text that lies in no file (`<string>`).
#[must_use]
pub fn text(path: &str) -> Option<String> {
    let bytes = fs::read(path).ok().filter(|_| !path.starts_with('<'))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").map_or(bytes.as_slice(), |rest| rest);
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    })
}
