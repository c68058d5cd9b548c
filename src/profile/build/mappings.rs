//! Memory mappings of a process, byte by byte.
//!
//! Job: know the line that mapped each byte, through partial unmaps and maps over maps. Invariant: mappings never
//! overlap. Neighbour: `heap` books the mapped and unmapped bytes.

use std::collections::BTreeMap;

use rscalene_wire::MapFlags;

use super::live::SiteId;

/// The kind of memory behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Anonymous memory: counts as a block.
    Anonymous,
    /// A file.
    File,
    /// Memory of an arena of Python's object allocator, whose contents are counted block by block.
    Arena,
    /// No memory yet: address space without access.
    Reserved,
    /// Memory mapped without reserve. The program never touches most of it, so only the touched part counts.
    Lazy,
}

/// The observer reads the pages of mappings from this size on. A smaller mapping counts as a whole.
const LOOKED_AT: u64 = 1 << 20;

impl Backing {
    /// The backing that the flags of [`rscalene_wire::Map`] name, for a mapping of `size` bytes.
    pub(crate) fn of(flags: MapFlags, size: u64) -> Self {
        match flags {
            _ if flags.has(MapFlags::ARENA) => Self::Arena,
            _ if flags.has(MapFlags::FILE) => Self::File,
            _ if flags.has(MapFlags::RESERVED) => Self::Reserved,
            _ if flags.has(MapFlags::LAZY) && size >= LOOKED_AT => Self::Lazy,
            _ => Self::Anonymous,
        }
    }
}

/// A run of mapped bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The place that created the mapping.
    pub(crate) site: SiteId,
    /// The kind of memory behind it.
    pub(crate) backing: Backing,
    end: u64,
}

impl Mapping {
    /// The address after the mapping's last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }
}

/// The mappings, by first address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mappings {
    runs: BTreeMap<u64, Mapping>,
}

impl Mappings {
    /// Maps `size` bytes; call [`Mappings::unmap`] first for the same range.
    pub(crate) fn map(&mut self, address: u64, size: u64, site: SiteId, backing: Backing) {
        if size > 0 {
            self.runs.insert(address, Mapping { site, backing, end: address.saturating_add(size) });
        }
    }

    /// All mappings, by first address.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, &Mapping)> {
        self.runs.iter().map(|(&start, run)| (start, run))
    }

    /// The reserved parts of a range: their first addresses and bytes.
    pub(crate) fn reserved(&self, address: u64, size: u64) -> Vec<(u64, u64)> {
        let end = address.saturating_add(size);
        let before = self.runs.range(..address).next_back();
        before
            .into_iter()
            .chain(self.runs.range(address..end))
            .filter(|(_, run)| run.backing == Backing::Reserved && run.end > address)
            .map(|(&start, run)| (start.max(address), run.end.min(end) - start.max(address)))
            .collect()
    }

    /// Unmaps `size` bytes. Returns every removed run, with its first address.
    pub(crate) fn unmap(&mut self, address: u64, size: u64) -> Vec<(u64, Mapping)> {
        let end = address.saturating_add(size);
        // A single run may begin before the range and end in it; all others begin inside.
        let first =
            self.runs.range(..=address).next_back().filter(|(_, run)| run.end > address).map(|(&start, _)| start);
        let starts: Vec<u64> =
            first.into_iter().chain(self.runs.range(address..end).map(|(&start, _)| start)).collect();
        let (mut before, mut gone) = (None, Vec::new());
        for start in starts {
            if before.replace(start) == Some(start) {
                continue;
            }
            let Some(run) = self.runs.remove(&start) else { continue };
            if start < address {
                self.runs.insert(start, Mapping { end: address, ..run });
            }
            if run.end > end {
                self.runs.insert(end, run);
            }
            gone.push((start.max(address), Mapping { end: run.end.min(end), ..run }));
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::{Backing, Mappings, SiteId};

    const PAGE: u64 = 4096;

    fn unmapped(maps: &mut Mappings, address: u64, pages: u64) -> Vec<(u32, u64)> {
        maps.unmap(address, pages * PAGE).iter().map(|(start, run)| (run.site.0, (run.end - start) / PAGE)).collect()
    }

    #[test]
    fn every_byte_goes_once_however_it_is_cut() {
        let mut maps = Mappings::default();
        maps.map(0, 8 * PAGE, SiteId(1), Backing::Anonymous);
        maps.map(8 * PAGE, 4 * PAGE, SiteId(2), Backing::File);
        assert_eq!(unmapped(&mut maps, 3 * PAGE, 1), [(1, 1)]);
        assert_eq!(unmapped(&mut maps, 3 * PAGE, 1), []);
        assert_eq!(unmapped(&mut maps, 0, 1), [(1, 1)]);
        assert_eq!(unmapped(&mut maps, 6 * PAGE, 3), [(1, 2), (2, 1)]);
        assert_eq!(unmapped(&mut maps, 0, 1000), [(1, 2), (1, 2), (2, 3)]);
        assert_eq!(unmapped(&mut maps, 0, u64::MAX / PAGE), []);
    }

    #[test]
    fn only_what_is_reserved_can_be_opened() {
        let mut maps = Mappings::default();
        maps.map(0, 4 * PAGE, SiteId(1), Backing::Reserved);
        maps.map(4 * PAGE, 4 * PAGE, SiteId(2), Backing::Anonymous);
        maps.map(8 * PAGE, 2 * PAGE, SiteId(3), Backing::Reserved);
        maps.map(20 * PAGE, 2 * PAGE, SiteId(3), Backing::Reserved);
        assert_eq!(maps.reserved(PAGE, 8 * PAGE), [(PAGE, 3 * PAGE), (8 * PAGE, PAGE)]);
        assert_eq!(maps.reserved(4 * PAGE, 4 * PAGE), []);
        assert_eq!(maps.reserved(10 * PAGE, 10 * PAGE), []);
        assert_eq!(maps.reserved(u64::MAX - 1, u64::MAX), []);
    }
}
