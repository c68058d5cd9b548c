//! Profiles for other tools: collapsed stacks, speedscope and pstats, all made from the tree of stacks.
//!
//! Job: let people keep the viewers they like. Invariants: sums of an export equal those of the tree; names cannot
//! break a format. Neighbours: `profile::model::Stacks` is the tree, whose indices `report::json` has checked.

mod callgrind;
mod collapsed;
mod labels;
pub(crate) mod marshal;
mod pprof;
mod pstats;
mod speedscope;
pub(super) mod walk;

pub use callgrind::callgrind;
pub use collapsed::collapsed;
pub use pprof::pprof;
pub use pstats::pstats;
pub use speedscope::speedscope;
pub use walk::Weight;
