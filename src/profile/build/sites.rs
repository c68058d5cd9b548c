//! Numbers for places that allocate: a line with its stack.
//!
//! Job: give each place a small number for blocks to carry, and know the bytes of each stack at the peak. Invariant: as
//! in `heap`: before the figures change for the first time after a moment, they are put aside. Neighbours: `heap` and
//! `mappings` hold the numbers.

use rustc_hash::FxHashMap;

use super::live::SiteId;
use super::peak::Numbers;
use super::touch::Untouched;
use crate::profile::book::intern::FrameId;
use crate::profile::book::tree::{NodeId, Place};

#[derive(Clone, Copy, Debug)]
struct Site {
    place: Place,
    bytes: f64,
    /// Blocks allocated.
    blocks: f64,
    /// Bytes at each of the two moments that may be the peak, and the moment's number.
    aside: [(f64, u64); 2],
    /// Bytes at the moment that may be the end, and the moment's number.
    at_end: (f64, u64),
}

/// The places that have allocated.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    numbers: FxHashMap<Place, SiteId>,
    sites: Vec<Site>,
}

impl Sites {
    /// The number of a place.
    pub(crate) fn number(&mut self, place: Place) -> SiteId {
        *self.numbers.entry(place).or_insert_with(|| {
            self.sites.push(Site { place, bytes: 0.0, blocks: 0.0, aside: [(0.0, 0); 2], at_end: (0.0, 0) });
            SiteId((self.sites.len() - 1) as u32)
        })
    }

    /// A copy with the bytes of each stack, which can number no further place.
    pub(crate) fn sums(&self) -> Self {
        Self { numbers: FxHashMap::default(), sites: self.sites.clone() }
    }

    /// The line of a place.
    pub(crate) fn owner(&self, site: SiteId) -> FrameId {
        self.sites[site.0 as usize].place.owner
    }

    /// Counts blocks that a place allocated.
    pub(crate) fn allocated(&mut self, site: SiteId, blocks: f64) {
        self.sites[site.0 as usize].blocks += blocks;
    }

    /// Changes the live bytes of a place, after the moments with these numbers. `end` is the number of the moment that
    /// may be the end, unless this change still comes before the end.
    pub(crate) fn change(&mut self, site: SiteId, bytes: f64, moments: Numbers, end: Option<u64>) {
        let site = &mut self.sites[site.0 as usize];
        if let Some(end) = end.filter(|&end| site.at_end.1 != end) {
            site.at_end = (site.bytes, end);
        }
        for (aside, moment) in site.aside.iter_mut().zip(moments) {
            if aside.1 != moment {
                *aside = (site.bytes, moment);
            }
        }
        site.bytes += bytes;
    }

    /// Each stack with its allocated blocks and its live bytes: at the end with the number `end`, or now.
    pub(crate) fn at_end(&self, end: Option<u64>) -> impl Iterator<Item = (NodeId, f64, f64)> {
        self.sites.iter().map(move |site| {
            let aside = end.filter(|&end| site.at_end.1 == end).map(|_| site.at_end.0);
            (site.place.node, site.blocks, aside.unwrap_or(site.bytes))
        })
    }

    /// Touched bytes of each stack at a moment, given by its index among the two and its number.
    pub(crate) fn at_peak(&self, (which, number): (usize, u64), untouched: &Untouched) -> Vec<(NodeId, f64)> {
        let had = |(at, site): (usize, &Site)| {
            let (aside, of) = site.aside[which];
            let bytes = if of == number { aside } else { site.bytes };
            (site.place.node, bytes - untouched.get(&SiteId(at as u32)).copied().unwrap_or(0.0))
        };
        self.sites.iter().enumerate().map(had).filter(|(_, bytes)| *bytes >= 0.5).collect()
    }
}
