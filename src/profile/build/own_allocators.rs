//! Libraries with an allocator of their own: the recorder cannot see their blocks.
//!
//! Job: note which of these libraries the processes load, and make a message when recorded blocks account for
//! too little of the peak. Invariant: pure; no library, or little such memory, no message. Neighbours: `builder`
//! passes on the modules of each process and the finished profile.

use crate::profile::model::{Notice, Profile, codes};
use crate::transport::event::Module;

/// A library by the beginning of its file's name, its package, and the setting for visible memory.
struct Known {
    file: &'static str,
    package: &'static str,
    cure: &'static str,
}

const KNOWN: [Known; 3] = [
    Known {
        file: "libarrow.so",
        package: "pyarrow",
        cure: "; with ARROW_DEFAULT_MEMORY_POOL=system in the environment it is seen",
    },
    Known { file: "_polars_runtime", package: "polars", cure: "" },
    Known { file: "polars.abi3.so", package: "polars", cure: "" },
];

/// Unaccounted memory below this, and below a tenth of the peak, is the interpreter's and the allocators' own.
const LITTLE_BYTES: u64 = 16 << 20;

/// The loaded libraries.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnAllocators([bool; KNOWN.len()]);

impl OwnAllocators {
    /// A process has these modules.
    pub(crate) fn see(&mut self, modules: &[Module]) {
        for (known, seen) in KNOWN.iter().zip(&mut self.0) {
            let is_it =
                |module: &Module| module.path.rsplit_once('/').is_some_and(|(_, name)| name.starts_with(known.file));
            *seen = *seen || modules.iter().any(is_it);
        }
    }

    /// The messages for a finished profile.
    pub(crate) fn notices(&self, profile: &Profile) -> Vec<Notice> {
        let totals = &profile.totals;
        let rest = totals.footprint_peak_bytes.zip(totals.tracked_peak_bytes).map(|(footprint, tracked)| {
            footprint.saturating_sub(tracked).saturating_sub(totals.resident_files_peak_bytes.unwrap_or(0))
        });
        let much = |rest: &u64| *rest >= LITTLE_BYTES && *rest >= totals.footprint_peak_bytes.unwrap_or(0) / 10;
        if rest.filter(much).is_none() {
            return Vec::new();
        }
        let mut told: Vec<&str> = Vec::new();
        let mut notices = Vec::new();
        for known in KNOWN.iter().zip(self.0).filter_map(|(known, seen)| seen.then_some(known)) {
            if !told.contains(&known.package) {
                told.push(known.package);
                let Known { package, cure, .. } = known;
                let text = format!(
                    "{package} has an allocator of its own, whose blocks are on no line: of its memory the footprint \
                     alone is known{cure}"
                );
                notices.push(Notice::of_run(codes::OWN_ALLOCATOR, text));
            }
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::Totals;

    fn notices(path: &str, footprint: u64, tracked: u64) -> Vec<Notice> {
        let mut seen = OwnAllocators::default();
        seen.see(&[Module { path: path.to_owned(), ..Module::default() }]);
        let totals =
            Totals { footprint_peak_bytes: Some(footprint), tracked_peak_bytes: Some(tracked), ..Totals::default() };
        seen.notices(&Profile { totals, ..Profile::default() })
    }

    #[test]
    fn a_notice_names_the_library_if_no_block_explains_much_of_the_peak() {
        let arrow = notices("/x/pyarrow/libarrow.so.2600", 200 << 20, 100 << 20);
        assert!(arrow.len() == 1 && arrow[0].text.contains("ARROW_DEFAULT_MEMORY_POOL=system"));
        assert_eq!(notices("/x/pyarrow/libarrow.so.2600", 200 << 20, 190 << 20), []);
        assert_eq!(notices("/x/libother.so", 200 << 20, 100 << 20), []);
        assert_eq!(notices("/x/polars.abi3.so", 200 << 20, 100 << 20).len(), 1);
    }
}
