//! The memory figures of a line: one row each.
//!
//! Job: hold what every reader of profiles must know of a figure, so that a new figure is a row here. The struct
//! [`Memory`], the keys of lines in JSON, the merge of profiles, the order of lines, the columns of the table, the data
//! of the page and the data frame follow from the rows. Invariant: rows have the order of the keys in JSON. Neighbours:
//! `book::sums` has the amounts, `line` reads keys, `merge::exact` adds, `report` shows.

use serde::{Deserialize, Serialize};

/// Calls a macro with its arguments in parentheses and the rows of the table behind them.
///
/// A row is: documentation, key, type, and its [`Row`].
macro_rules! memory_figures {
    ($then:ident!($($arguments:tt)*)) => {
        $then! {
            ($($arguments)*)
            /// Bytes allocated.
            alloc_bytes: u64 =
                Row::new("al", 4).detail("allocated").column("Allocated", 9).sort("alloc").share_of(Whole::Run).error();
            /// Standard error of `alloc_bytes`.
            alloc_bytes_se: f64 = Row::new("ae", 2).add(Add::Apart);
            /// Blocks allocated.
            alloc_count: u64 = Row::new("ac", 3).lines_alone();
            /// Bytes freed while the line ran.
            free_bytes: u64 = Row::new("fr", 3).detail("freed");
            /// `alloc_bytes - free_bytes`.
            increment_bytes: i64 =
                Row::new("in", 4).detail("increment").add(Add::Apart).column("Increment", 9).sort("increment");
            /// Bytes allocated here and live at the end.
            live_bytes: u64 =
                Row::new("li", 4).detail("live at the end")
                    .column("Live", 8).sort("live").share_of(Whole::Peak).error();
            /// Standard error of `live_bytes`.
            live_bytes_se: f64 = Row::new("le", 2).add(Add::Apart);
            /// Bytes allocated here and live at the process' peak.
            peak_bytes: u64 =
                Row::new("pk", 4).detail("live at the peak")
                    .add(Add::Apart).column("At peak", 8).sort("peak").share_of(Whole::Peak).error();
            /// Standard error of `peak_bytes`.
            peak_bytes_se: f64 = Row::new("pe", 2).add(Add::Apart);
            /// Largest footprint (RSS) of the process while the line ran.
            mem_usage_bytes: u64 = Row::new("mu", 3).detail("mem usage (RSS)").add(Add::Larger).column("Mem usage", 9);
            /// Part of `alloc_bytes` through Python's object allocators.
            python_alloc_bytes: u64 = Row::new("pa", 3).detail("by Python allocators");
            /// Bytes moved by memcpy and memmove.
            copy_bytes: u64 = Row::new("cp", 4).detail("copied").column("Copied", 8).sort("copy").share_of(Whole::Run).error();
            /// Standard error of `copy_bytes`.
            copy_bytes_se: f64 = Row::new("ce", 2).add(Add::Apart);
        }
    };
}
pub(crate) use memory_figures;

macro_rules! define_memory {
    (() $($(#[doc = $doc:literal])+ $key:ident: $number:ty = $row:expr;)*) => {
        /// Memory of a line, function or process. `None`: not measured.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct Memory {
            $($(#[doc = $doc])+ #[serde(default)] pub $key: Option<$number>,)*
        }

        /// The rows of the table, in the order of the JSON.
        pub const FIGURES: [Figure; [$(stringify!($key)),*].len()] = [$(Figure {
            key: stringify!($key),
            row: $row,
            signed: <$number as Number>::SIGNED,
            value: |memory| memory.$key.map(|number| number as f64),
            count: |memory| <$number as Number>::count(&mut memory.$key),
        },)*];
    };
}
memory_figures!(define_memory!());

/// How a figure of one row and the same figure of another run's row make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Add {
    /// They add up.
    Sum,
    /// The larger stays.
    Larger,
    /// `merge` computes the figure from others.
    Apart,
}

/// The whole that a figure's shares are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// None: the figure has no shares.
    None,
    /// The same figure of the whole run.
    Run,
    /// The peak of the footprint.
    Peak,
}

/// What readers need to know of a figure.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Key in the data of the page, two letters.
    pub page: &'static str,
    /// Significant digits in the data of the page.
    pub digits: u32,
    /// Label in the page's details of a line; `None`: they do not list it.
    pub detail: Option<&'static str>,
    /// The page has the figure of lines, and not of the shares of processes.
    pub lines_alone: bool,
    /// How figures of several runs make one.
    pub add: Add,
    /// Title and width of the column in the table; `None`: no column.
    pub column: Option<(&'static str, usize)>,
    /// Name of the sort key on the command line; `None`: lines are not sorted by it.
    pub sort: Option<&'static str>,
    /// The whole that shares are of.
    pub whole: Whole,
    /// The next row is the standard error of this figure.
    pub has_error: bool,
}

impl Row {
    const fn new(page: &'static str, digits: u32) -> Self {
        Self {
            page,
            digits,
            detail: None,
            lines_alone: false,
            add: Add::Sum,
            column: None,
            sort: None,
            whole: Whole::None,
            has_error: false,
        }
    }

    const fn detail(self, label: &'static str) -> Self {
        Self { detail: Some(label), ..self }
    }

    const fn lines_alone(self) -> Self {
        Self { lines_alone: true, ..self }
    }

    const fn add(self, add: Add) -> Self {
        Self { add, ..self }
    }

    const fn column(self, title: &'static str, width: usize) -> Self {
        Self { column: Some((title, width)), ..self }
    }

    const fn sort(self, name: &'static str) -> Self {
        Self { sort: Some(name), ..self }
    }

    const fn share_of(self, whole: Whole) -> Self {
        Self { whole, ..self }
    }

    const fn error(self) -> Self {
        Self { has_error: true, ..self }
    }
}

/// A figure: its row, and how to read it.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Key in JSON, and in the data frame.
    pub key: &'static str,
    /// The row.
    pub row: Row,
    /// The figure can be below 0.
    pub signed: bool,
    /// The figure of some memory, rounded to a float.
    pub value: fn(&Memory) -> Option<f64>,
    /// The figure itself; `None` if it is no unsigned integer.
    pub count: fn(&mut Memory) -> Option<&mut Option<u64>>,
}

/// Number of the figure with this key in [`FIGURES`].
///
/// # Panics
///
/// If no figure has the key. Callers make constants of the number, so that the compiler finds a wrong key.
#[must_use]
pub const fn at(key: &str) -> usize {
    let mut at = 0;
    while at < FIGURES.len() {
        if same(FIGURES[at].key.as_bytes(), key.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no figure has this key")
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

/// A type of a figure's number.
trait Number: Sized {
    const SIGNED: bool = false;

    fn count(_number: &mut Option<Self>) -> Option<&mut Option<u64>> {
        None
    }
}

impl Number for f64 {}

impl Number for i64 {
    const SIGNED: bool = true;
}

impl Number for u64 {
    fn count(number: &mut Option<Self>) -> Option<&mut Option<u64>> {
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_json_and_page_and_names_of_sort_keys_name_one_figure_each() {
        for (number, figure) in FIGURES.iter().enumerate() {
            assert_eq!(at(figure.key), number);
            let others =
                || FIGURES.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, other)| other.row);
            assert!(others().all(|other| other.page != figure.row.page), "{}", figure.key);
            assert!(others().all(|other| other.sort.is_none() || other.sort != figure.row.sort), "{}", figure.key);
        }
    }

    #[test]
    fn the_error_of_a_figure_follows_it() {
        for (number, figure) in FIGURES.iter().enumerate().filter(|(_, figure)| figure.row.has_error) {
            assert_eq!(FIGURES[number + 1].key, format!("{}_se", figure.key));
        }
    }
}
