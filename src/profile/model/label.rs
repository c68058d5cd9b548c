//! Work that bears a label: the requests of a route, the runs of a task, a block that the program named.
//!
//! Invariant: what is not known is `None`, never 0. Neighbours: `write::tables` fills it, `report` shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::moments::SectionLine;

/// All work with one label, in all processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Its keys and values, e.g. `route` and `/user/<id>`.
    pub labels: BTreeMap<String, String>,
    /// Pieces of work that ended.
    pub count: u64,
    /// Wall seconds of these.
    pub elapsed_s: f64,
    /// Half of them took at most so many wall seconds, within one percent; `None` where none ended.
    pub median_s: Option<f64>,
    /// As many as 95 of 100 took at most so many.
    pub p95_s: Option<f64>,
    /// The longest.
    pub longest_s: Option<f64>,
    /// CPU seconds, from the clock of their threads where that is known of all, else from samples.
    pub cpu_s: Option<f64>,
    /// Bytes allocated.
    pub alloc_bytes: Option<u64>,
    /// Bytes of these that lived at the end.
    pub kept_bytes: Option<u64>,
    /// The lines in scope, by file and line.
    pub lines: Vec<SectionLine>,
}

impl Label {
    /// The key of a label that names a web request's route.
    pub const ROUTE: &'static str = "route";

    /// The route, if this is one.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.labels.get(Self::ROUTE).map(String::as_str)
    }

    /// The keys and values in one line; of a route without other keys its name alone.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.route(), self.labels.len()) {
            (Some(route), 1) => route.to_owned(),
            (Some(route), 2) if self.labels.contains_key("method") => format!("{} {route}", self.labels["method"]),
            _ => self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "),
        }
    }
}
