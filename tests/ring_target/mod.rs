//! A target as the drain sees it: a writer made from the description in `rscalene_wire` alone.
//!
//! It maps the arena a second time, as the shim does. Shared by the tests of the ring and the benches.
#![allow(dead_code, reason = "each of those who include this uses a part of it")]
#![allow(missing_docs, unreachable_pub, reason = "no part of the crate's face")]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rscalene::transport::arena::Arena;
use rscalene_wire as wire;
use wire::{Kind, PAGE, RecordHeader, SLOT, SegmentHeader};

/// Segments of the arenas that are made here.
pub const SEGMENTS: u32 = 4;

/// The arena as a target has it: mapped a second time, writable.
#[derive(Clone, Copy)]
pub struct Target {
    pub base: usize,
    pub bytes: usize,
    segment_bytes: usize,
}

impl Target {
    fn of(arena: &Arena, segment_bytes: usize) -> Self {
        let address = arena.address().into_string().expect("text");
        let descriptor = address.split(':').nth(1).expect("a descriptor").to_owned();
        let file = OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{descriptor}")).expect("open");
        let bytes = file.metadata().expect("its size").len() as usize;
        let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh mapping of the whole file, never unmapped.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, read_write, shared, file.as_raw_fd(), 0) };
        assert_ne!(base, libc::MAP_FAILED);
        Self { base: base as usize, bytes, segment_bytes }
    }

    pub fn segment(&self, number: u32) -> usize {
        self.base + wire::first_segment(SEGMENTS) as usize + number as usize * self.segment_bytes
    }

    pub fn word(&self, address: usize) -> &AtomicU64 {
        assert!(address.is_multiple_of(8) && (self.base..self.base + self.bytes - 7).contains(&address));
        // SAFETY: an aligned word inside the mapping, which is never unmapped; both sides use atomics for it.
        unsafe { &*(address as *const AtomicU64) }
    }

    pub fn header(&self, number: u32) -> &SegmentHeader {
        // SAFETY: a segment begins with this header, all atomics.
        unsafe { &*(self.segment(number) as *const SegmentHeader) }
    }

    pub fn claim(&self, number: u32, pid: u32) {
        self.word(self.base + PAGE + number as usize * 8).store(1 << 32 | u64::from(pid), Release);
    }

    /// Writes one record as the protocol has it; false where it has no room.
    pub fn emit(&self, number: u32, kind: Kind, payload: &[u64]) -> bool {
        let slots = ((self.segment_bytes - PAGE) / SLOT) as u64;
        let bytes = size_of::<RecordHeader>() + payload.len() * 8;
        let needed = bytes.div_ceil(SLOT) as u64;
        let header = self.header(number);
        let mut head = header.head.load(Relaxed);
        loop {
            if head.wrapping_sub(header.tail.load(Acquire)).saturating_add(needed) > slots {
                header.lost[kind as usize].fetch_add(1, Relaxed);
                return false;
            }
            match header.head.compare_exchange_weak(head, head.wrapping_add(needed), Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        let ring = self.segment(number) + PAGE;
        let place = |at: usize| self.word(ring + ((head % slots) as usize * SLOT + at) % (slots as usize * SLOT));
        place(8).store(kind as u64 | (payload.len() as u64 * 8) << 32, Relaxed);
        for (index, word) in payload.iter().enumerate() {
            place(16 + index * 8).store(*word, Relaxed);
        }
        place(0).store(wire::commit_word(head), Release);
        true
    }
}

/// An arena and how a target sees it.
pub fn arena(segment_bytes: usize) -> (Arc<Arena>, Target) {
    let arena = Arena::create(wire::Settings::default(), SEGMENTS, segment_bytes).expect("an arena");
    let target = Target::of(&arena, segment_bytes);
    (Arc::new(arena), target)
}
