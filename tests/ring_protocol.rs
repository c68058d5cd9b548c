//! The arena between a writer that keeps to the protocol, or breaks it, and the drain.
//!
//! The writer here is written from the description in `rscalene_wire` alone; it maps the arena as the shim does.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use rscalene::transport::arena::Arena;
use rscalene::transport::drain::Reader;
use rscalene::transport::event::{Body, Event};
use rscalene_wire as wire;
use wire::{Kind, PAGE, RecordHeader, SLOT, SegmentHeader};

const SEGMENTS: u32 = 4;

/// The arena as a target has it: mapped a second time, writable.
#[derive(Clone, Copy)]
struct Target {
    base: usize,
    bytes: usize,
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

    fn segment(&self, number: u32) -> usize {
        self.base + wire::first_segment(SEGMENTS) as usize + number as usize * self.segment_bytes
    }

    fn word(&self, address: usize) -> &AtomicU64 {
        assert!(address.is_multiple_of(8) && (self.base..self.base + self.bytes - 7).contains(&address));
        // SAFETY: an aligned word inside the mapping, which is never unmapped; both sides use atomics for it.
        unsafe { &*(address as *const AtomicU64) }
    }

    fn header(&self, number: u32) -> &SegmentHeader {
        // SAFETY: a segment begins with this header, all atomics.
        unsafe { &*(self.segment(number) as *const SegmentHeader) }
    }

    fn claim(&self, number: u32, pid: u32) {
        self.word(self.base + PAGE + number as usize * 8).store(1 << 32 | u64::from(pid), Release);
    }

    /// Writes one record as the protocol has it; false where it has no room.
    fn emit(&self, number: u32, kind: Kind, payload: &[u64]) -> bool {
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

fn arena(segment_bytes: usize) -> (Arc<Arena>, Target) {
    let arena = Arena::create(wire::Settings::default(), SEGMENTS, segment_bytes).expect("an arena");
    let target = Target::of(&arena, segment_bytes);
    (Arc::new(arena), target)
}

/// What writer `writer` says in its round `round`: words that give every torn or doubled record away.
fn words(writer: u64, round: u64, count: u64) -> Vec<u64> {
    (0..count).map(|index| (writer << 48 | round << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index).collect()
}

#[test]
fn records_of_many_writers_arrive_once_whole_and_in_each_writers_order() {
    const WRITERS: u64 = 6;
    const ROUNDS: u64 = 4000;
    // A ring of 64 slots: it is full, and wraps, all the time.
    let (arena, target) = arena(2 * PAGE);
    target.claim(0, std::process::id());
    let done = AtomicBool::new(false);
    let mut seen: Vec<Event> = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        // A StackDef of up to three slots.
                        let entries = words(writer, round, (writer + round) % 17);
                        let mut payload = vec![writer << 32 | round, entries.len() as u64];
                        payload.extend(entries);
                        while !target.emit(0, Kind::StackDef, &payload) {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let reading = scope.spawn(|| {
            let mut reader = Reader::new(Arc::clone(&arena));
            let mut seen = Vec::new();
            while !done.load(Acquire) {
                if !reader.look(&mut |event| seen.push(event)) {
                    std::thread::yield_now();
                }
            }
            reader.finish(&mut |event| seen.push(event));
            seen
        });
        for writer in writers {
            writer.join().expect("a writer");
        }
        done.store(true, Release);
        seen = reading.join().expect("the reader");
    });
    let mut next: HashMap<u64, u64> = HashMap::new();
    let mut malformed = u64::MAX;
    for event in seen {
        match event.body {
            Body::StackDef(stack) => {
                let (writer, round) = (stack.def.stack >> 32, stack.def.stack & 0xffff_ffff);
                assert_eq!(next.insert(writer, round + 1).unwrap_or(0), round, "of writer {writer}");
                let expected = words(writer, round, (writer + round) % 17);
                let got: Vec<u64> =
                    stack.entries.iter().map(|entry| u64::from(entry.code) | u64::from(entry.offset) << 32).collect();
                assert_eq!(got, expected);
            }
            Body::Counters(counters) => malformed = counters.malformed,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(malformed, 0);
    assert_eq!(next.len() as u64, WRITERS);
    assert!(next.values().all(|rounds| *rounds == ROUNDS));
}

#[test]
fn a_target_that_writes_anything_anywhere_breaks_nothing_and_is_read_in_bounded_time() {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut dice = move |sides: u64| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    };
    let rounds = std::env::var("RSCALENE_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60);
    for _ in 0..rounds {
        let segment_bytes = PAGE * (2 + dice(3) as usize);
        let (arena, target) = arena(segment_bytes);
        let mut reader = Reader::new(Arc::clone(&arena));
        let mut events = 0_u64;
        for number in 0..SEGMENTS {
            target.claim(number, std::process::id());
        }
        for _ in 0..20 {
            for _ in 0..dice(40) {
                let number = dice(u64::from(SEGMENTS)) as u32;
                let slots = ((segment_bytes - PAGE) / SLOT) as u64;
                match dice(6) {
                    // A record that says anything about itself.
                    0..=2 => {
                        let payload: Vec<u64> = (0..dice(20)).map(|_| dice(u64::MAX) >> (dice(8) * 8)).collect();
                        target.emit(number, Kind::from_u8(1 + dice(14) as u8).expect("a kind"), &payload);
                    }
                    // A committed slot of noise.
                    3 => {
                        let position = dice(slots);
                        let at = target.segment(number) + PAGE + position as usize * SLOT;
                        for word in 1..8 {
                            target.word(at + word * 8).store(dice(u64::MAX) >> (dice(8) * 8), Relaxed);
                        }
                        target.word(at).store(wire::commit_word(position), Release);
                    }
                    // Positions that lie.
                    4 => target.header(number).head.store(dice(u64::MAX) >> (dice(8) * 8), Release),
                    _ => target.header(number).tail.store(dice(u64::MAX), Release),
                }
            }
            reader.look(&mut |_| events += 1);
        }
        reader.finish(&mut |_| events += 1);
        assert!(events >= u64::from(SEGMENTS), "the counters of each segment come at the end");
        // SAFETY: the mapping of this round, which nobody uses any more.
        unsafe { libc::munmap(target.base as *mut libc::c_void, target.bytes) };
    }
}
