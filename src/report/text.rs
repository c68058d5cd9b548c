//! Makes text of a profile fit for a terminal: measured in display cells, cut with a mark, harmless.
//!
//! Job: turn a source line, a path or a name into one line of known width. Invariants: the result holds no control
//! character and no character that reorders others (each is replaced by a visible character), so that no source can
//! control the terminal or hide text; [`width`] gives its width in cells; of a long line, only as much is examined as
//! fits. Neighbours: `report::table` puts the result in cells.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::style::{Role, Style};

/// Distance of tab stops in source text.
const TAB: usize = 4;

/// Most bytes of a grapheme cluster that are shown. A longer cluster is no letter and no emoji; the rest is left out.
const LONGEST_CLUSTER: usize = 64;

/// Display cells of `text`.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.graphemes(true).map(|cluster| cluster.width()).sum() }
}

/// Appends `text`, made harmless, painted, and cut at its end to `most_cells` display cells. Returns the cells that it takes.
pub(crate) fn fit_onto(out: &mut String, text: &str, most_cells: usize, role: Role, style: &Style) -> usize {
    // Fast path: most lines are ASCII, so each byte takes a cell and none needs a replacement. Only other lines are
    // split into clusters, because that took a third of the time of a table of 100,000 lines.
    let head = &text.as_bytes()[..text.len().min(most_cells.saturating_add(1))];
    let plain = head.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if plain && text.len() <= most_cells {
        style.paint(out, role, text);
        return text.len();
    }
    let ellipsis = style.glyph("\u{2026}", "...");
    let mark = width(ellipsis);
    if plain && mark <= most_cells {
        // The byte after the cut is plain ASCII too, so it cannot combine with the letter before.
        style.paint(out, role, &text[..most_cells - mark]);
        style.paint(out, Role::Faint, ellipsis);
        return most_cells;
    }
    let mut made = Made::default();
    // Bytes and cells up to the place of a cut, in case the text turns out too long.
    let mut cut = (0, 0);
    for cluster in text.graphemes(true) {
        if made.width + mark <= most_cells {
            cut = (made.text.len(), made.width);
        }
        made.push(cluster, style);
        if made.width > most_cells {
            made.truncate(cut);
            made.paint_onto(out, role, style);
            if mark > most_cells {
                return made.width;
            }
            style.paint(out, Role::Faint, ellipsis);
            return made.width + mark;
        }
    }
    made.paint_onto(out, role, style);
    made.width
}

/// `text` made harmless, in full length, without colours.
pub(crate) fn visible(text: &str, style: &Style) -> String {
    let mut made = Made::default();
    text.graphemes(true).for_each(|cluster| made.push(cluster, style));
    made.text
}

/// `text` made harmless and cut at its end to `most_cells` display cells, without colours.
pub(crate) fn fit(text: &str, most_cells: usize, style: &Style) -> String {
    let mut out = String::new();
    fit_onto(&mut out, text, most_cells, Role::Plain, &Style { color: false, ..*style });
    out
}

/// `text` made harmless and cut at its front to `most_cells` display cells, because the end of a path says more than its
/// start.
pub(crate) fn fit_end(text: &str, most_cells: usize, style: &Style) -> String {
    let text = visible(text, style);
    if width(&text) <= most_cells {
        return text;
    }
    let ellipsis = style.glyph("\u{2026}", "...");
    let kept = most_cells.saturating_sub(width(ellipsis));
    let mut start = text.len();
    let mut used = 0;
    for (at, cluster) in text.grapheme_indices(true).rev() {
        used += cluster.width();
        if used > kept {
            break;
        }
        start = at;
    }
    format!("{ellipsis}{}", &text[start..])
}

/// Harmless text, and the parts of it that replace other characters.
#[derive(Default)]
struct Made {
    text: String,
    stand_ins: Vec<Range<usize>>,
    width: usize,
}

impl Made {
    fn push(&mut self, cluster: &str, style: &Style) {
        if cluster == "\t" {
            self.repeat(' ', TAB - self.width % TAB);
        } else if cluster.len() <= LONGEST_CLUSTER && cluster.chars().all(|c| is_harmless(c, style)) {
            self.text.push_str(cluster);
            self.width += cluster.width();
        } else {
            let mut bytes = 0;
            for c in cluster.chars() {
                bytes += c.len_utf8();
                if bytes > LONGEST_CLUSTER {
                    break;
                }
                self.push_char(c, style);
            }
        }
    }

    fn push_char(&mut self, c: char, style: &Style) {
        let mut buffer = [0; 4];
        let text: &str = c.encode_utf8(&mut buffer);
        if is_harmless(c, style) {
            self.text.push(c);
            self.width += text.width();
        } else if acts(c) {
            self.stand_in(&stand_in(u32::from(c), style));
        } else {
            // Another script on a terminal that cannot show it: one `?` for each cell.
            self.repeat('?', text.width());
        }
    }

    fn repeat(&mut self, c: char, cells: usize) {
        self.text.extend(std::iter::repeat_n(c, cells));
        self.width += cells;
    }

    fn stand_in(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.stand_ins.push(start..self.text.len());
        self.width += width(text);
    }

    /// Cuts text and width back to these sizes.
    fn truncate(&mut self, (bytes, width): (usize, usize)) {
        self.text.truncate(bytes);
        self.stand_ins.retain(|range| range.end <= bytes);
        self.width = width;
    }

    fn paint_onto(&self, out: &mut String, role: Role, style: &Style) {
        let mut at = 0;
        for range in &self.stand_ins {
            style.paint(out, role, &self.text[at..range.start]);
            style.paint(out, Role::StandIn, &self.text[range.clone()]);
            at = range.end;
        }
        style.paint(out, role, &self.text[at..]);
    }
}

/// The text shown for a control character. The control pictures from U+2400 on are one cell wide and made for this.
fn stand_in(code: u32, style: &Style) -> String {
    let picture = match code {
        0..0x20 => char::from_u32(0x2400 + code),
        0x7f => Some('\u{2421}'),
        _ => None,
    };
    match picture.filter(|_| style.unicode) {
        Some(picture) => picture.to_string(),
        None => format!("<U+{code:04X}>"),
    }
}

/// Whether `c` is printable ASCII or, if the style has Unicode, any character that [`acts`] does not name.
fn is_harmless(c: char, style: &Style) -> bool {
    matches!(c, ' '..='~') || (style.unicode && !c.is_ascii() && !acts(c))
}

/// Whether `c` controls, reorders or hides text: C0 and C1 controls, soft hyphens, line and paragraph separators,
/// bidirectional marks, embeddings, overrides and isolates, invisible operators, zero-width spaces, interlinear marks,
/// tags. Joiners and variation selectors are allowed: scripts and emoji need them.
fn acts(c: char) -> bool {
    matches!(
        u32::from(c),
        0..=0x1f
            | 0x7f..=0x9f
            | 0xad
            | 0x61c
            | 0x180e
            | 0x200b
            | 0x200e..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0xfeff
            | 0xfff9..=0xfffb
            | 0xe0000..=0xe007f
    )
}

/// Name of a native library without the details of its build: `_json` for `_json.cpython-311-x86_64-linux-gnu.so`,
/// `libblas` for `libblas-32a4b2a6.so.3`.
pub(crate) fn library_name(object: &str) -> &str {
    let file = object.rsplit('/').next().unwrap_or(object);
    let Some((name, _)) = file.split_once(".so") else { return object };
    let name = [".cpython-", ".abi3"].iter().find_map(|mark| name.split_once(mark)).map_or(name, |(name, _)| name);
    let hashed =
        name.rsplit_once('-').filter(|(_, hash)| hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    let name = hashed.map_or(name, |(name, _)| name);
    if name.is_empty() { object } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Style = Style { width: 80, color: false, unicode: true };
    const ASCII: Style = Style { width: 80, color: false, unicode: false };

    #[test]
    fn cut_text_fills_its_cells_and_never_exceeds_them() {
        let examples = [
            "plain ascii text",
            "합계를 구한다",
            "日本語のテキスト",
            "сумма по строкам",
            "e\u{301}\u{301}clair",
            "👨\u{200d}👩\u{200d}👧 family ⚠\u{fe0f}!",
        ];
        for text in examples {
            for most_cells in 0..=width(text) + 2 {
                for style in [UNICODE, ASCII] {
                    let out = fit(text, most_cells, &style);
                    assert!(width(&out) <= most_cells, "{text:?} in {most_cells}: {out:?}");
                    // If the next cluster takes two cells, the text may end a cell before the limit.
                    let full = width(&out) + 2 > most_cells.min(width(text));
                    assert!(full || !style.unicode, "{text:?} in {most_cells}: {out:?}");
                }
                assert!(width(&fit_end(text, most_cells.max(1), &UNICODE)) <= most_cells.max(1));
            }
        }
        assert_eq!(fit("합계를 구한다", 6, &UNICODE), "합계…");
        assert_eq!(fit("abcdef", 6, &UNICODE), "abcdef");
        assert_eq!(fit("abcdefg", 6, &UNICODE), "abcde…");
        assert_eq!(fit("abcdefg", 6, &ASCII), "abc...");
        assert_eq!(fit_end("/srv/app/pkg/mod.py", 10, &UNICODE), "…kg/mod.py");
    }

    #[test]
    fn no_character_that_acts_reaches_the_terminal() {
        let every: String = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| acts(*c) || c.is_control()).collect();
        for style in [UNICODE, ASCII] {
            let out = visible(&every, &style);
            assert!(!out.chars().any(|c| acts(c) || c.is_control()), "{out}");
            assert!(style.unicode || out.is_ascii());
        }
        assert_eq!(visible("x\u{1b}[2J\u{202e}y\u{9b}", &UNICODE), "x␛[2J<U+202E>y<U+009B>");
        assert_eq!(visible("x\u{1b}[2J", &ASCII), "x<U+001B>[2J");
        assert_eq!(visible("합 é", &ASCII), "?? ?");
    }

    #[test]
    fn libraries_are_named_without_their_build() {
        for (object, name) in [
            ("_multiarray_umath.cpython-311-x86_64-linux-gnu.so", "_multiarray_umath"),
            ("libscipy_openblas64_-32a4b2a6.so", "libscipy_openblas64_"),
            ("libpython3.11.so.1.0", "libpython3.11"),
            ("_rscalene.abi3.so", "_rscalene"),
            ("python3.11", "python3.11"),
            (".so", ".so"),
        ] {
            assert_eq!(library_name(object), name);
        }
    }

    #[test]
    fn tabs_reach_the_next_stop() {
        assert_eq!(visible("\tx\ty\tzzzz\t.", &UNICODE), "    x   y   zzzz    .");
    }

    #[test]
    fn stand_ins_are_painted_apart_and_survive_a_cut() {
        let style = Style { color: true, ..UNICODE };
        let mut out = String::new();
        let cells = fit_onto(&mut out, "ab\u{7}cdefgh", 6, Role::Plain, &style);
        assert_eq!(cells, 6);
        assert!(out.starts_with("ab\u{1b}[7m␇\u{1b}[0mcd"), "{out:?}");
    }

    #[test]
    fn a_letter_under_a_thousand_accents_is_cut_short() {
        let text = format!("a{}", "\u{301}".repeat(100_000));
        assert!(visible(&text, &UNICODE).len() <= LONGEST_CLUSTER);
    }
}
