//! Comparisons as text, HTML, Markdown and JSON.
//!
//! Job: show changes beyond chance first, mark all others as chance, and leave nothing out of the JSON. Invariants:
//! pure; a figure inside the noise always stands in parentheses. Neighbours: `profile::compare` compares; `chosen`
//! chooses, and `table`, `html` and `markdown` render.

mod chosen;
mod gate;
mod html;
mod markdown;
mod table;

use std::path::Path;

use serde::Serialize;

use super::export::Format;
use super::style::Style;
use crate::profile::compare::diff::Diff;
use crate::profile::compare::gate::Verdict;
use crate::profile::model::Format as Version;

pub use chosen::DiffOptions;
pub use gate::{ANNOTATIONS, render_annotations, render_gate, render_gate_markdown};
pub use html::{render_fragment, render_page};
pub use markdown::render_markdown;
pub use table::render_table;

/// Name of the JSON's format, major 1.
pub const FORMAT_NAME: &str = "rscalene-diff";

/// Format of a comparison's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffFormat {
    /// All figures.
    Json,
    /// The page.
    Html,
    /// The table.
    Text,
}

impl DiffFormat {
    /// The format for the ending of a file's name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match Format::of(path)? {
            Format::Json => Some(Self::Json),
            Format::Html => Some(Self::Html),
            Format::Text => Some(Self::Text),
            _ => None,
        }
    }

    /// The comparison in this format.
    #[must_use]
    pub fn encode(self, diff: &Diff, options: &DiffOptions, style: &Style) -> Vec<u8> {
        match self {
            Self::Json => render_json(diff).into_bytes(),
            Self::Html => render_page(diff).into_bytes(),
            Self::Text => render_table(diff, options, style).into_bytes(),
        }
    }
}

/// The comparison as JSON: every line and function of either profile.
#[must_use]
pub fn render_json(diff: &Diff) -> String {
    render_judged_json(diff, None)
}

/// The same with the verdict of `--fail`.
#[must_use]
pub fn render_judged_json(diff: &Diff, limits: Option<&Verdict>) -> String {
    #[derive(Serialize)]
    struct Whole<'d> {
        format: Version,
        #[serde(flatten)]
        diff: &'d Diff,
        #[serde(skip_serializing_if = "Option::is_none")]
        limits: Option<&'d Verdict>,
    }
    let format = Version { name: FORMAT_NAME.to_owned(), major: 1, minor: 0 };
    // serde_json writes figures that are not finite as null; nothing else can fail.
    let mut text = serde_json::to_string(&Whole { format, diff, limits }).unwrap_or_default();
    text.push('\n');
    text
}
