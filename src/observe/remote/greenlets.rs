//! The stacks of the greenlets that wait in an idle gevent hub.
//!
//! Job: find the greenlets of a hub and read their frames. The interpreter keeps no list of greenlets, so a search
//! reads the garbage collector's lists, the newest objects first. Invariants: searches take at most 2 % of a core
//! ([`PATIENCE`]), and between two searches only the greenlets of the last search are read. If watchers of the event
//! loop wake some of the greenlets, the other greenlets wait for these and have no part of the waiting. Neighbours:
//! `rscalene_interp` reads the objects, `tasks` divides the waiting.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use rscalene_interp::{
    Collected, Frame, Hub, Layout, Memory, collected, collected_as, collector_lists, is_of_hub, parked_frame,
    walk_from, woken_by,
};

use super::memory::ProcessMemory;
use super::target::MAX_DEPTH;
use crate::observe::proc;

/// Most objects of the collector that a search reads.
const MOST_OBJECTS: u32 = 200_000;
/// Most greenlets, and most watchers, that a search takes.
const MOST_FOUND: usize = 10_000;
/// Least time between two searches.
const SEARCH_NS: u64 = 20_000_000;
/// A search that took a time `t` is repeated after `t * PATIENCE` at the earliest.
const PATIENCE: u64 = 50;
/// Most hubs that are remembered: each thread that uses gevent has a hub of its own.
const MOST_HUBS: usize = 64;
/// Bytes and number of the pages that a search remembers.
const PAGE: usize = 4_096;
const PAGES: usize = 256;

/// The greenlets of a process.
#[derive(Debug, Default)]
pub(super) struct Greenlets {
    lists: Option<u64>,
    /// The kind of object of each class.
    classes: HashMap<u64, Collected>,
    hubs: HashMap<u64, Known>,
    /// True if the last answer comes from an earlier search.
    pub(super) is_old: bool,
}

/// The outcome of the last search for a hub's greenlets.
#[derive(Debug, Default)]
struct Known {
    due_ns: u64,
    /// Each greenlet, its frame and instruction at the search, and whether a watcher wakes the greenlet.
    greenlets: Vec<(u64, Option<Place>, bool)>,
}

/// Addresses of a frame and its instruction.
type Place = (u64, u64);

impl Greenlets {
    /// The innermost frames of the greenlets of `hub` that a watcher wakes, or of all waiting greenlets if a watcher
    /// wakes none.
    pub(super) fn waiting(
        &mut self,
        (memory, layout): (&ProcessMemory, &Layout),
        (interp, hub): (u64, Hub),
    ) -> Vec<u64> {
        let began_ns = proc::monotonic_ns();
        if self.hubs.len() > MOST_HUBS {
            self.hubs.clear();
        }
        self.is_old = self.hubs.get(&hub.hub).is_some_and(|known| known.due_ns > began_ns);
        if !self.is_old {
            let greenlets = self.search(memory, layout, interp, hub);
            let ended_ns = proc::monotonic_ns();
            let due_ns = ended_ns + ((ended_ns - began_ns) * PATIENCE).max(SEARCH_NS);
            self.hubs.insert(hub.hub, Known { due_ns, greenlets });
        }
        let known = self.hubs.get(&hub.hub).map_or(&[][..], |known| &known.greenlets);
        let (mut woken, mut all) = (Vec::new(), Vec::new());
        for &(greenlet, then, wakes) in known {
            let Some(frame) = parked_frame(memory, layout, greenlet).filter(|_| is_of_hub(memory, hub, greenlet))
            else {
                continue;
            };
            all.push(frame.frame);
            // A greenlet that has moved since the search probably has a watcher of its own again.
            if wakes || then != Some((frame.frame, frame.instruction)) {
                woken.push(frame.frame);
            }
        }
        if woken.is_empty() { all } else { woken }
    }

    /// The frames of a greenlet, from the innermost on.
    pub(super) fn frames(memory: &ProcessMemory, layout: &Layout, frame: u64) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        walk_from(memory, layout, frame, MAX_DEPTH, |frame| {
            frames.push(frame);
            true
        });
        frames
    }

    /// The greenlets of a hub, among the objects of the collector.
    fn search(
        &mut self,
        memory: &ProcessMemory,
        layout: &Layout,
        interp: u64,
        hub: Hub,
    ) -> Vec<(u64, Option<Place>, bool)> {
        let memory = &Pages::new(memory);
        if self.lists.is_none() {
            self.lists = collector_lists(memory, layout, interp);
        }
        let Some(lists) = self.lists else { return Vec::new() };
        let (mut greenlets, mut watchers) = (vec![hub.main], Vec::new());
        let classes = &mut self.classes;
        collected(memory, layout, lists, MOST_OBJECTS, |object, class| {
            match *classes.entry(class).or_insert_with(|| collected_as(memory, class)) {
                Collected::Greenlet if object != hub.main && is_of_hub(memory, hub, object) => greenlets.push(object),
                Collected::Watcher => watchers.push(object),
                Collected::Greenlet | Collected::Other => {}
            }
            greenlets.len().max(watchers.len()) < MOST_FOUND
        });
        let all: HashSet<u64> = greenlets.iter().copied().collect();
        let mut woken = HashSet::new();
        for watcher in watchers {
            woken_by(memory, layout, watcher, |object| {
                if all.contains(&object) {
                    woken.insert(object);
                }
            });
        }
        let known = |greenlet| {
            let place = parked_frame(memory, layout, greenlet).map(|frame| (frame.frame, frame.instruction));
            (greenlet, place, woken.contains(&greenlet))
        };
        greenlets.into_iter().map(known).collect()
    }
}

/// Another process' memory in whole pages, each read once in a search.
struct Pages<'a> {
    memory: &'a ProcessMemory,
    pages: RefCell<Vec<(u64, Box<[u8; PAGE]>)>>,
}

impl<'a> Pages<'a> {
    fn new(memory: &'a ProcessMemory) -> Self {
        Self { memory, pages: RefCell::new((0..PAGES).map(|_| (u64::MAX, Box::new([0; PAGE]))).collect()) }
    }
}

impl Memory for Pages<'_> {
    fn u64(&self, addr: u64) -> Option<u64> {
        let mut raw = [0; 8];
        self.bytes(addr, &mut raw).then(|| u64::from_ne_bytes(raw))
    }

    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        let from = usize::try_from(addr % PAGE as u64).unwrap_or(0);
        let start = addr - from as u64;
        let mut pages = self.pages.borrow_mut();
        let page = &mut pages[usize::try_from(start / PAGE as u64).unwrap_or(0) % PAGES];
        if page.0 != start {
            page.0 = if self.memory.bytes(start, &mut page.1[..]) { start } else { u64::MAX };
        }
        match page.1.get(from..from + into.len()) {
            Some(bytes) if page.0 == start => into.copy_from_slice(bytes),
            // The bytes cross two pages.
            _ => return page.0 == start && self.memory.bytes(addr, into),
        }
        true
    }
}
