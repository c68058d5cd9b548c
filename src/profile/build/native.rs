//! Native time by library and function.
//!
//! Job: add up native samples by line and program counter while a process runs, by line and place in a file when it has
//! ended, and name each distinct place once at the very end. Invariant: the shares of a line add up to its native
//! seconds, or to less where only the largest are listed. Neighbours: `symbolize` knows mappings and names.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::operators::Operators;
use super::symbolize::{ANONYMOUS, AddressMap, Lookup, UNKNOWN, demangle, object_name};
use crate::profile::book::Book;
use crate::profile::book::intern::FrameId;
use crate::profile::book::sums::sorted;
use crate::profile::model::NativeSymbol;

/// Most program counters of a process with sums of their own.
const MOST_COUNTERS: usize = 1 << 18;
/// Most places listed for a line.
const LISTED: usize = 8;

/// Native samples of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct NativeSamples {
    ns: FxHashMap<(FrameId, u64), f64>,
    /// Samples outside the evaluation loop, by innermost frame, line and program counter. They are native if
    /// `operators` says so.
    outside: FxHashMap<(FrameId, FrameId, u64), f64>,
    map: AddressMap,
}

impl NativeSamples {
    /// The process' mappings.
    pub(crate) fn map(&self) -> &AddressMap {
        &self.map
    }

    /// The process' mappings, for updates.
    pub(crate) fn map_mut(&mut self) -> &mut AddressMap {
        &mut self.map
    }

    /// True if there are samples, but no mappings to look them up in.
    pub(crate) fn unmapped(&self) -> bool {
        self.map.is_empty() && !self.ns.is_empty()
    }

    /// Takes in a sample of `weight_ns` at `pc`, on the line of `owner`.
    pub(crate) fn sample(&mut self, owner: FrameId, pc: u64, weight_ns: u64) {
        let pc = if self.ns.len() < MOST_COUNTERS { pc } else { 0 };
        *self.ns.entry((owner, pc)).or_default() += weight_ns as f64;
    }

    /// Takes in a sample of `weight_ns` at `pc`, under an instruction of `leaf` without a call, on the line of `owner`.
    pub(crate) fn sample_outside(&mut self, leaf: FrameId, owner: FrameId, pc: u64, weight_ns: u64) {
        let pc = if self.outside.len() < MOST_COUNTERS { pc } else { 0 };
        *self.outside.entry((leaf, owner, pc)).or_default() += weight_ns as f64;
    }

    /// Books the samples as places in files.
    pub(crate) fn settle(&mut self, operators: &Operators, book: &mut Book) {
        for ((leaf, owner, pc), ns) in sorted(&std::mem::take(&mut self.outside)) {
            if operators.are_native(leaf) {
                *self.ns.entry((owner, pc)).or_default() += ns;
            }
        }
        for ((owner, pc), &ns) in sorted(&self.ns) {
            match self.map.find(pc) {
                Some(module) if module.path.is_empty() => book.add_native(owner, ANONYMOUS, 0, ns),
                Some(module) => book.add_native(owner, &module.path, pc - module.start + module.offset, ns),
                None => book.add_native(owner, UNKNOWN, 0, ns),
            }
        }
        self.ns.clear();
    }
}

/// The largest native places of each line, as shares of 1. `line_of` gives the line of a frame.
pub(crate) fn shares<L: Ord>(
    book: &Book,
    lookup: &mut Lookup<'_>,
    line_of: impl Fn(FrameId) -> L,
) -> BTreeMap<L, Vec<NativeSymbol>> {
    let mut names = FxHashMap::default();
    let mut lines: BTreeMap<L, BTreeMap<(String, Option<String>), f64>> = BTreeMap::new();
    for ((owner, place), &ns) in sorted(&book.native) {
        let path = &book.objects.values()[place.object as usize];
        let name = names.entry(place).or_insert_with(|| {
            let named = path.starts_with('/').then(|| lookup(path, place.offset)).flatten();
            (object_name(path).to_owned(), named.map(|name| demangle(&name)))
        });
        *lines.entry(line_of(owner)).or_default().entry(name.clone()).or_default() += ns;
    }
    let largest = |places: BTreeMap<(String, Option<String>), f64>| {
        let total: f64 = places.values().sum();
        let mut list: Vec<NativeSymbol> = places
            .into_iter()
            .map(|((object, symbol), ns)| NativeSymbol { object, symbol, s: ns / total })
            .filter(|place| place.s > 0.0)
            .collect();
        list.sort_by(|left, right| right.s.total_cmp(&left.s));
        list.truncate(LISTED);
        list
    };
    lines.into_iter().map(|(line, places)| (line, largest(places))).collect()
}
