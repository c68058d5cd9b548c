//! The formats in which a profile can be saved, the format that a file's name selects, and the files of other tools.
//!
//! Job: choose the format by a name, and encode a profile in it. Each file here writes the format of a viewer that people
//! know, from the tree of stacks. Invariants: pure functions; every format has one name for the command line and at least
//! one ending; sums of an export equal those of the tree; names cannot break a format. Neighbours: `commands` and
//! `bindings` write the bytes to files; `report::json` has checked the indices of the tree, `profile::model::Stacks`.

mod callgrind;
mod collapsed;
mod labels;
pub(crate) mod marshal;
mod pprof;
mod pstats;
mod speedscope;
pub(super) mod walk;

use std::io::{self, Write};
use std::path::Path;

use super::html::{HtmlOptions, render_html};
use super::json::{self, Layout};
use super::style::Style;
use super::table::render_table;
use super::view::Options;
use crate::profile::model::Profile;

pub use callgrind::callgrind;
pub use collapsed::collapsed;
pub use pprof::pprof;
pub use pstats::pstats;
pub use speedscope::speedscope;
pub use walk::Weight;

/// The content of a file.
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
    /// A file for Python's `pstats`.
    Pstats,
    /// pprof's file.
    Pprof,
    /// callgrind's file.
    Callgrind,
}

/// The look of a report, for the formats that are reports.
pub struct Look<'a> {
    /// The content of the table.
    pub options: Options,
    /// The look of the table.
    pub style: Style,
    /// Show source text in the page.
    pub source: bool,
    /// The weight of stacks, in a format with a single weight. `None` selects CPU time, but wall time for pstats, and
    /// all weights for speedscope.
    pub weight: Option<Weight>,
    /// Returns the text of a file, if it can be read.
    pub read_source: &'a dyn Fn(&str) -> Option<String>,
}

/// A format with its names, and the function that writes a profile in it.
struct Row {
    format: Format,
    /// Name of the format on the command line.
    name: &'static str,
    /// Endings of file names that select this format. Help texts list the first ending.
    endings: &'static [&'static str],
    write: fn(&Profile, &Look<'_>, &mut dyn Write) -> io::Result<()>,
}

/// A row for each format, in the order of [`Format`] and of help texts. A new format needs a row here and a file
/// beside this one.
const ROWS: [Row; 8] = [
    Row {
        format: Format::Json,
        name: "json",
        endings: &[".json"],
        write: |profile, _, out| json::write(profile, Layout::Compact, out),
    },
    Row { format: Format::Html, name: "html", endings: &[".html", ".htm"], write: write_html },
    Row {
        format: Format::Text,
        name: "text",
        endings: &[".txt", ".text"],
        write: |profile, look, out| {
            out.write_all(render_table(profile, &look.options, &look.style, look.read_source).as_bytes())
        },
    },
    Row {
        format: Format::Collapsed,
        name: "collapsed",
        endings: &[".collapsed", ".folded"],
        write: |profile, look, out| {
            out.write_all(collapsed::collapsed(profile, look.weight.unwrap_or_default()).as_bytes())
        },
    },
    Row {
        format: Format::Speedscope,
        name: "speedscope",
        endings: &[".speedscope.json", ".speedscope"],
        write: |profile, look, out| out.write_all(speedscope::speedscope(profile, look.weight).as_bytes()),
    },
    Row {
        format: Format::Pstats,
        name: "pstats",
        endings: &[".pstats", ".prof"],
        write: |profile, look, out| out.write_all(&pstats::pstats(profile, look.weight.unwrap_or(Weight::Wall))),
    },
    Row {
        format: Format::Pprof,
        name: "pprof",
        endings: &[".pb.gz", ".pprof"],
        write: |profile, _, out| out.write_all(&pprof::pprof(profile)),
    },
    Row {
        format: Format::Callgrind,
        name: "callgrind",
        endings: &[".callgrind"],
        write: |profile, _, out| out.write_all(callgrind::callgrind(profile).as_bytes()),
    },
];

fn write_html(profile: &Profile, look: &Look<'_>, out: &mut dyn Write) -> io::Result<()> {
    let options = HtmlOptions { source: look.source, ..HtmlOptions::default() };
    out.write_all(render_html(profile, &options, look.read_source).as_bytes())
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

    /// Name of the format on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The format called `name` on the command line.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// An ending for each format, as help texts and hints list them: `.json, .html, ...`.
    #[must_use]
    pub fn endings() -> String {
        ROWS.map(|row| row.endings[0]).join(", ")
    }

    /// The format of a file, by the ending of its name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        // callgrind itself writes `callgrind.out.PID`, and KCachegrind looks for such names.
        if name.starts_with("callgrind.out") {
            return Some(Self::Callgrind);
        }
        ending_of(&name).map(|(format, _)| format)
    }

    /// Where the ending of a file's name begins; `None` if the ending selects no format.
    #[must_use]
    pub fn ending(name: &str) -> Option<usize> {
        ending_of(&name.to_ascii_lowercase()).map(|(_, ending)| name.len() - ending.len())
    }

    /// Writes the profile to `out` in this format. Source text inside the profile is always included, whatever
    /// `look.source` is.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn write(self, profile: &Profile, look: &Look<'_>, out: &mut dyn Write) -> io::Result<()> {
        (self.row().write)(profile, look, out)
    }

    /// The bytes that [`Self::write`] writes.
    #[must_use]
    pub fn encode(self, profile: &Profile, look: &Look<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to a `Vec` never fails.
        let _ = self.write(profile, look, &mut bytes);
        bytes
    }
}

/// The longest known ending of a name, in lower case, and its format.
fn ending_of(name: &str) -> Option<(Format, &'static str)> {
    let all = ROWS.iter().flat_map(|row| row.endings.iter().map(|ending| (row.format, *ending)));
    all.filter(|(_, ending)| name.ends_with(ending)).max_by_key(|(_, ending)| ending.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_matching_ending_selects_the_format() {
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
