//! Work with a label: the requests of a route, the runs of a task, a block that the program named.
//!
//! Invariant: an unknown figure is `None`, never 0. Neighbours: `write::tables` fills the type, `report` shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::moments::SectionLine;

/// All work with the same label, in all processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Keys and values of the label, e.g. `route` and `/user/<id>`.
    pub labels: BTreeMap<String, String>,
    /// Number of ended pieces of work.
    pub count: u64,
    /// Wall seconds of the ended pieces.
    pub elapsed_s: f64,
    /// Median of the wall seconds of a piece, within 1 %; `None`: no piece ended.
    pub median_s: Option<f64>,
    /// 95th percentile of the wall seconds of a piece; `None`: no piece ended.
    pub p95_s: Option<f64>,
    /// Wall seconds of the longest piece.
    pub longest_s: Option<f64>,
    /// CPU seconds: from the clock of the threads if the clock is known for all pieces, otherwise from samples.
    pub cpu_s: Option<f64>,
    /// Bytes allocated.
    pub alloc_bytes: Option<u64>,
    /// The part of `alloc_bytes` that was live at the end.
    pub kept_bytes: Option<u64>,
    /// The lines in scope, by file and line.
    pub lines: Vec<SectionLine>,
}

impl Label {
    /// The key of a label that names a web request's route.
    pub const ROUTE: &'static str = "route";

    /// The route, if the label names a route.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.labels.get(Self::ROUTE).map(String::as_str)
    }

    /// The keys and values in a line of text. For a route without other keys: the route alone.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.route(), self.labels.len()) {
            (Some(route), 1) => route.to_owned(),
            (Some(route), 2) if self.labels.contains_key("method") => format!("{} {route}", self.labels["method"]),
            _ => self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "),
        }
    }
}
