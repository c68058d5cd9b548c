//! The model: the content of a profile, format 1. No arithmetic beyond sums.
//!
//! Job: the types of the JSON and of everything that renders it. Invariant: the model uses no other module of
//! `profile`. Neighbours: `build` and `write` make profiles, `report` shows them, `compare` pairs two.

mod exit;
pub mod figures;
mod label;
mod line;
mod merge;
mod moments;
mod notice;
mod profile;
mod sql;
mod stacks;
mod time_and_memory;

pub use exit::Exit;
pub use figures::Memory;
pub use label::Label;
pub use line::{Line, NativeSymbol, ProcessShare, ThreadShare};
pub use merge::{CountedNotice, LineParts, LineSpread, Member, Merge, Range, Spread, Variances};
pub use moments::{HeldBytes, Leak, NearLimit, Section, SectionLine};
pub use notice::{Notice, codes};
pub use profile::*;
pub use sql::{Sql, SqlCause, SqlStatement};
pub use stacks::{ProcessStack, StackFrame, StackNode, Stacks, ThreadStack};
pub use time_and_memory::{Cumulative, Time, Totals};
