//! Escapes text for the places of the page where it is inserted.
//!
//! Job: escape for element text, quoted attributes, `<script type="application/json">` and URL fragments. Invariants:
//! no character of a text can end the place where the text is inserted; characters that would reorder or hide text
//! (bidirectional controls, NUL and other C0 controls) are replaced by visible text. Neighbours: every other file of
//! this folder writes the profile's texts through this file; `source.js` shows the same characters in the same way.

/// Appends `text`, escaped for element content or a double-quoted attribute.
pub(super) fn push_text(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let (entity, shown);
        let replacement: &str = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&#39;",
            '\t' => continue,
            _ => match visible(c) {
                Some(picture) => {
                    entity = picture;
                    shown = entity.as_str();
                    shown
                }
                None => continue,
            },
        };
        out.push_str(&text[plain..at]);
        out.push_str(replacement);
        plain = at + c.len_utf8();
    }
    out.push_str(&text[plain..]);
}

/// Appends source text, escaped for element content. Wide characters go into spans that give them two columns each.
pub(super) fn push_source(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(start) = rest.find(is_wide) {
        let end = rest[start..].find(|c| !is_wide(c)).map_or(rest.len(), |len| start + len);
        push_text(out, &rest[..start]);
        out.push_str("<span class=\"wide\">");
        push_text(out, &rest[start..end]);
        out.push_str("</span>");
        rest = &rest[end..];
    }
    push_text(out, rest);
}

/// Whether fonts make the East Asian character `c` one em wide. `WIDE` in `assets/dom.js` names the same characters.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{3163}' | '\u{3165}'..='\u{a4cf}' | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff01}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}')
}

/// `text`, escaped for element content or a double-quoted attribute.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    push_text(&mut out, text);
    out
}

/// Text to show for a character that would be invisible or would reorder its neighbours.
fn visible(c: char) -> Option<String> {
    match c {
        '\n' => Some("\u{2424}".to_owned()),
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).map(String::from),
        '\u{7f}' => Some("\u{2421}".to_owned()),
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Some(format!("\u{27e8}U+{:04X}\u{27e9}", c as u32)),
        _ => None,
    }
}

/// Appends JSON, escaped for a `<script type="application/json">`: without `<`, `>`, `&` and line separators.
pub(super) fn push_script_json(out: &mut String, json: &str) {
    let mut plain = 0;
    for (at, c) in json.char_indices() {
        let replacement = match c {
            '<' => "\\u003c",
            '>' => "\\u003e",
            '&' => "\\u0026",
            '\u{2028}' => "\\u2028",
            '\u{2029}' => "\\u2029",
            _ => continue,
        };
        out.push_str(&json[plain..at]);
        out.push_str(replacement);
        plain = at + c.len_utf8();
    }
    out.push_str(&json[plain..]);
}

/// The URL fragment of a file: letters, digits and `._~/-` stay, every other byte becomes `%XX`.
pub(super) fn fragment(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"._~/-".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(text("<b a=\"1\" c='2'>&"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;");
    }

    #[test]
    fn wide_characters_stand_apart() {
        let mut out = String::new();
        push_source(&mut out, "합계 = 0 # <합>");
        assert_eq!(out, "<span class=\"wide\">합계</span> = 0 # &lt;<span class=\"wide\">합</span>&gt;");
    }

    #[test]
    fn characters_that_hide_or_reorder_are_shown() {
        assert_eq!(text("a\u{202e}b\0c\u{7f}"), "a\u{27e8}U+202E\u{27e9}b\u{2400}c\u{2421}");
        assert_eq!(text("tab\tstays"), "tab\tstays");
        assert_eq!(
            text("a\u{3164}\u{ad}\u{e0041}"),
            "a\u{27e8}U+3164\u{27e9}\u{27e8}U+00AD\u{27e9}\u{27e8}U+E0041\u{27e9}"
        );
    }

    #[test]
    fn json_in_a_script_cannot_end_the_script() {
        let mut out = String::new();
        push_script_json(&mut out, "\"</script><!--\u{2028}\u{2029}&\"");
        assert_eq!(out, "\"\\u003c/script\\u003e\\u003c!--\\u2028\\u2029\\u0026\"");
    }

    #[test]
    fn a_fragment_keeps_paths_readable_and_nothing_else() {
        assert_eq!(fragment("src/a b\"<:é.py"), "src/a%20b%22%3C%3A%C3%A9.py");
    }
}
