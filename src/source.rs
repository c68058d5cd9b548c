//! The text of source files.
//!
//! Job: read a source file as Python does. The encoding follows PEP 263; a line may end with `\n`, `\r\n` or `\r`. In
//! the text returned each line ends with `\n`. Callers: `commands`, `bindings`, `launch` and `inprocess`, which show or
//! keep lines of source.

use std::fs;

use encoding_rs::Encoding;

/// The text of a source file. `None` if the file cannot be read, or if the name starts with `<`, because such code has
/// no file (for example `<string>`).
#[must_use]
pub fn text(path: &str) -> Option<String> {
    Some(decoded(&fs::read(path).ok().filter(|_| !path.starts_with('<'))?))
}

/// Decodes these bytes: with the encoding declared in the first two lines, else as UTF-8, else as Latin-1. Decoding as
/// Latin-1 cannot fail.
fn decoded(bytes: &[u8]) -> String {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match (std::str::from_utf8(bytes), declared(bytes)) {
        (Ok(text), None) => text.to_owned(),
        (_, Some(encoding)) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        (Err(_), None) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text }
}

/// The encoding declared by a comment in the first two lines, if the encoding is known and not UTF-8.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let mut lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
    let first = lines.next()?;
    let name = coding(first).or_else(|| coding(lines.next().filter(|_| is_comment_or_blank(first))?))?;
    // Python writes underscores in names of encodings, and has aliases for Latin-1.
    let name = name.to_ascii_lowercase().replace('_', "-");
    let label = match name.as_str() {
        "latin-1" | "iso-latin-1" | "l1" => "latin1",
        "shift-jis" | "sjis" | "cp932" => "shift_jis",
        "eucjp" => "euc-jp",
        "cp949" | "euckr" => "euc-kr",
        "cp936" => "gbk",
        "cp950" => "big5",
        name => name,
    };
    Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != encoding_rs::UTF_8)
}

/// Does the line hold nothing but white space and a comment?
fn is_comment_or_blank(line: &[u8]) -> bool {
    line.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\x0c')).is_none_or(|byte| *byte == b'#')
}

/// The name behind `coding:` or `coding=` in a comment line.
fn coding(line: &[u8]) -> Option<&str> {
    if !is_comment_or_blank(line) {
        return None;
    }
    let at = line.windows(6).position(|window| window == b"coding")?;
    let rest = line.get(at + 6..)?;
    let rest = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"="))?;
    let start = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let rest = rest.get(start..)?;
    let end = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"-_.".contains(byte)));
    std::str::from_utf8(rest.get(..end.unwrap_or(rest.len()))?).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_decoded_as_its_comment_declares() {
        let cases: [(&[u8], &str); 9] = [
            (b"x = '\xc3\xa9'\n", "x = '\u{e9}'\n"),
            (b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
            (b"# -*- coding: cp1251 -*-\n# \xcf\n", "# -*- coding: cp1251 -*-\n# \u{41f}\n"),
            (
                b"#!/bin/python\n# set fileencoding=koi8_r :\n\xf0\n",
                "#!/bin/python\n# set fileencoding=koi8_r :\n\u{41f}\n",
            ),
            (b"# coding=latin-1\n\xe9\n", "# coding=latin-1\n\u{e9}\n"),
            (b"# coding: gbk\n\xc4\xe3\n", "# coding: gbk\n\u{4f60}\n"),
            (b"# coding: utf-8\n\xc3\xa9\n", "# coding: utf-8\n\u{e9}\n"),
            // A declaration behind code, and an unknown encoding: both are ignored.
            (b"x = 1\n# coding: cp1251\n\xe9\n", "x = 1\n# coding: cp1251\n\u{e9}\n"),
            (b"# coding: rot13\n\xe9\n", "# coding: rot13\n\u{e9}\n"),
        ];
        for (bytes, truth) in cases {
            assert_eq!(decoded(bytes), truth);
        }
    }

    #[test]
    fn lines_end_as_python_counts_them() {
        assert_eq!(decoded(b"a\rb\r\nc\nd\x0ce"), "a\nb\nc\nd\x0ce");
        assert_eq!(decoded(b"# coding: cp1251\r\xcf\r").lines().count(), 2);
    }
}
