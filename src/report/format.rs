//! The formats in which a profile can be kept, and how a file's name tells them.
//!
//! Job: from a name to a format, and from a profile to that format's bytes. Invariant: pure; every format has one word
//! for the command line and at least one ending. Neighbours: `commands` and `bindings` write what this makes.

use std::path::Path;

use super::export::{self, Weight};
use super::html::{HtmlOptions, render_html};
use super::json::{self, Layout};
use super::style::Style;
use super::table::render_table;
use super::view::Options;
use crate::profile::model::Profile;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The profile itself, format 1.
    Json,
    /// The page.
    Html,
    /// The table.
    Text,
    /// Collapsed stacks, for flame graph tools.
    Collapsed,
    /// speedscope's file.
    Speedscope,
    /// What Python's `pstats` reads.
    Pstats,
    /// pprof's file.
    Pprof,
    /// callgrind's file.
    Callgrind,
}

/// How the reports among the formats look.
pub struct Look<'a> {
    /// What the table shows.
    pub options: Options,
    /// How the table looks.
    pub style: Style,
    /// Show source text in the page.
    pub source: bool,
    /// What stacks are weighed by, where a format has one weight; `None`: CPU time, and all that speedscope can show.
    pub weight: Option<Weight>,
    /// Gives the text of a file, where it can be read.
    pub read_source: &'a dyn Fn(&str) -> Option<String>,
}

/// What there is to know of a format.
struct Row {
    format: Format,
    /// The word for it on the command line.
    name: &'static str,
    /// Endings of file names that tell it; help texts list the first.
    endings: &'static [&'static str],
    encode: fn(&Profile, &Look<'_>) -> Vec<u8>,
}

/// One row a format, in the order of [`Format`] and of help texts. A new format is a row here and a file in `export`.
const ROWS: [Row; 8] = [
    Row { format: Format::Json, name: "json", endings: &[".json"], encode: encode_json },
    Row { format: Format::Html, name: "html", endings: &[".html", ".htm"], encode: encode_html },
    Row {
        format: Format::Text,
        name: "text",
        endings: &[".txt", ".text"],
        encode: |profile, look| render_table(profile, &look.options, &look.style, look.read_source).into_bytes(),
    },
    Row {
        format: Format::Collapsed,
        name: "collapsed",
        endings: &[".collapsed", ".folded"],
        encode: |profile, look| export::collapsed(profile, look.weight.unwrap_or_default()).into_bytes(),
    },
    Row {
        format: Format::Speedscope,
        name: "speedscope",
        endings: &[".speedscope.json", ".speedscope"],
        encode: |profile, look| export::speedscope(profile, look.weight).into_bytes(),
    },
    Row {
        format: Format::Pstats,
        name: "pstats",
        endings: &[".pstats", ".prof"],
        encode: |profile, _| export::pstats(profile),
    },
    Row {
        format: Format::Pprof,
        name: "pprof",
        endings: &[".pb.gz", ".pprof"],
        encode: |profile, _| export::pprof(profile),
    },
    Row {
        format: Format::Callgrind,
        name: "callgrind",
        endings: &[".callgrind"],
        encode: |profile, _| export::callgrind(profile).into_bytes(),
    },
];

fn encode_json(profile: &Profile, _: &Look<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Memory takes all that is written to it.
    let _ = json::write(profile, Layout::Compact, &mut bytes);
    bytes
}

fn encode_html(profile: &Profile, look: &Look<'_>) -> Vec<u8> {
    let options = HtmlOptions { source: look.source, ..HtmlOptions::default() };
    render_html(profile, &options, look.read_source).into_bytes()
}

impl Format {
    /// All formats, in the order in which help texts list them.
    pub const ALL: [Self; ROWS.len()] = {
        let mut all = [Self::Json; ROWS.len()];
        let mut at = 0;
        while at < ROWS.len() {
            all[at] = ROWS[at].format;
            at += 1;
        }
        all
    };

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The word for it on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The format that `name` stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The endings that help texts and hints list, one a format: `.json, .html, ...`.
    #[must_use]
    pub fn endings() -> String {
        ROWS.map(|row| row.endings[0]).join(", ")
    }

    /// The format of a file, by the ending of its name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        // The name that callgrind itself gives, which KCachegrind looks for.
        if name.starts_with("callgrind.out") {
            return Some(Self::Callgrind);
        }
        ending_of(&name).map(|(format, _)| format)
    }

    /// Where the ending of a file's name begins; `None` where it tells no format.
    #[must_use]
    pub fn ending(name: &str) -> Option<usize> {
        ending_of(&name.to_ascii_lowercase()).map(|(_, ending)| name.len() - ending.len())
    }

    /// The profile in this format. Source text that the profile itself holds is part of it whatever `look` says.
    #[must_use]
    pub fn encode(self, profile: &Profile, look: &Look<'_>) -> Vec<u8> {
        (self.row().encode)(profile, look)
    }
}

/// The longest ending of a name in lower case, and the format that it tells.
fn ending_of(name: &str) -> Option<(Format, &'static str)> {
    let all = ROWS.iter().flat_map(|row| row.endings.iter().map(|ending| (row.format, *ending)));
    all.filter(|(_, ending)| name.ends_with(ending)).max_by_key(|(_, ending)| ending.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ending_that_fits_tells_the_format() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(of("a/b.json"), Some(Format::Json));
        assert_eq!(of("b.SPEEDSCOPE.json"), Some(Format::Speedscope));
        assert_eq!(of("b.folded"), Some(Format::Collapsed));
        assert_eq!(of("b.prof"), Some(Format::Pstats));
        assert_eq!(of("b.htm"), Some(Format::Html));
        assert_eq!(of("b.pb.gz"), Some(Format::Pprof));
        assert_eq!(of("callgrind.out.4711"), Some(Format::Callgrind));
        assert_eq!((of("b"), of("json"), of("b.xml"), of("/")), (None, None, None, None));
    }

    #[test]
    fn every_format_has_a_word_and_an_ending() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
            assert_eq!(format.row().format, format, "rows have the order of the formats");
            assert!(format.row().endings.iter().all(|ending| Format::ending(&format!("x{ending}")) == Some(1)));
        }
    }
}
