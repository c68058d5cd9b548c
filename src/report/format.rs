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

/// Endings that tell a format, the longer before those that they end in.
const ENDINGS: [(&str, Format); 14] = [
    (".speedscope.json", Format::Speedscope),
    (".speedscope", Format::Speedscope),
    (".json", Format::Json),
    (".html", Format::Html),
    (".htm", Format::Html),
    (".txt", Format::Text),
    (".collapsed", Format::Collapsed),
    (".folded", Format::Collapsed),
    (".pstats", Format::Pstats),
    (".prof", Format::Pstats),
    (".pb.gz", Format::Pprof),
    (".pprof", Format::Pprof),
    (".callgrind", Format::Callgrind),
    (".text", Format::Text),
];

/// How the reports among the formats look.
pub struct Look<'a> {
    /// What the table shows.
    pub options: Options,
    /// How the table looks.
    pub style: Style,
    /// Show source text in the page.
    pub source: bool,
    /// Gives the text of a file, where it can be read.
    pub read_source: &'a dyn Fn(&str) -> Option<String>,
}

impl Format {
    /// All formats, in the order in which help texts list them.
    pub const ALL: [Self; 8] = [
        Self::Json,
        Self::Html,
        Self::Text,
        Self::Collapsed,
        Self::Speedscope,
        Self::Pstats,
        Self::Pprof,
        Self::Callgrind,
    ];

    /// The word for it on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Text => "text",
            Self::Collapsed => "collapsed",
            Self::Speedscope => "speedscope",
            Self::Pstats => "pstats",
            Self::Pprof => "pprof",
            Self::Callgrind => "callgrind",
        }
    }

    /// The format that `name` stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of a file, by the ending of its name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        // The name that callgrind itself gives, which KCachegrind looks for.
        if name.starts_with("callgrind.out") {
            return Some(Self::Callgrind);
        }
        ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| *format)
    }

    /// Where the ending of a file's name begins; `None` where it tells no format.
    #[must_use]
    pub fn ending(name: &str) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        ENDINGS.iter().find(|(ending, _)| lower.ends_with(ending)).map(|(ending, _)| name.len() - ending.len())
    }

    /// The profile in this format. Source text that the profile itself holds is part of it whatever `look` says.
    #[must_use]
    pub fn encode(self, profile: &Profile, look: &Look<'_>) -> Vec<u8> {
        match self {
            Self::Json => {
                let mut bytes = Vec::new();
                // Memory takes all that is written to it.
                let _ = json::write(profile, Layout::Compact, &mut bytes);
                bytes
            }
            Self::Html => {
                let options = HtmlOptions { source: look.source, ..HtmlOptions::default() };
                render_html(profile, &options, look.read_source).into_bytes()
            }
            Self::Text => render_table(profile, &look.options, &look.style, look.read_source).into_bytes(),
            Self::Collapsed => export::collapsed(profile, Weight::Cpu).into_bytes(),
            Self::Speedscope => export::speedscope(profile).into_bytes(),
            Self::Pstats => export::pstats(profile),
            Self::Pprof => export::pprof(profile),
            Self::Callgrind => export::callgrind(profile).into_bytes(),
        }
    }
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
            assert!(ENDINGS.iter().any(|(_, of)| *of == format), "{format:?}");
        }
    }
}
