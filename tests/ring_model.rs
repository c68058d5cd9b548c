//! The ring's protocol under every order of its steps that the memory model allows, up to a bound on preemptions.
//!
//! A model, step for step after `Segment::reserve` and `Writer::commit` of the shim and `take` of the drain, with the
//! same orders of memory: what the real ones do with pointers is left out, and a slot's bytes are a cell that complains
//! if two sides touch it at once. Neighbour: `ring_protocol.rs`, which tries the real drain under stress.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread;
use rscalene_wire::commit_word;

const SLOTS: u64 = 2;

/// One segment; a record says in its first slot how many it has, and in each whose it is.
struct Ring {
    head: AtomicU64,
    tail: AtomicU64,
    lost: AtomicU64,
    commits: Vec<AtomicU64>,
    bytes: Vec<UnsafeCell<(u64, u64)>>,
}

impl Ring {
    fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            commits: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            bytes: (0..SLOTS).map(|_| UnsafeCell::new((0, 0))).collect(),
        }
    }

    fn place(position: u64) -> usize {
        (position % SLOTS) as usize
    }

    /// Writes a record of `needed` slots; false (and counted) where it has no room.
    fn emit(&self, name: u64, needed: u64) -> bool {
        let mut head = self.head.load(Acquire);
        loop {
            let used = head.wrapping_sub(self.tail.load(Acquire));
            if used.saturating_add(needed) > SLOTS {
                let now = self.head.load(Acquire);
                if used > SLOTS && now != head {
                    head = now;
                    continue;
                }
                assert!(used <= SLOTS, "lost although there may be room");
                self.lost.fetch_add(1, Relaxed);
                return false;
            }
            match self.head.compare_exchange_weak(head, head + needed, Release, Acquire) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        for slot in head..head + needed {
            // SAFETY: the protocol under test; the cell panics if it does not keep others away.
            self.bytes[Self::place(slot)].with_mut(|bytes| unsafe { *bytes = (name, needed) });
        }
        self.commits[Self::place(head)].store(commit_word(head), Release);
        true
    }

    /// Takes what is committed, from `position` on.
    fn take(&self, position: &mut u64, seen: &mut Vec<u64>) {
        let head = self.head.load(Acquire);
        let first = *position;
        while *position < head {
            if self.commits[Self::place(*position)].load(Acquire) != commit_word(*position) {
                break;
            }
            // SAFETY: as above.
            let (name, slots) = self.bytes[Self::place(*position)].with(|bytes| unsafe { *bytes });
            for slot in *position..*position + slots {
                // SAFETY: as above.
                assert_eq!(self.bytes[Self::place(slot)].with(|bytes| unsafe { *bytes }), (name, slots));
            }
            seen.push(name);
            *position += slots;
        }
        if *position != first {
            self.tail.store(*position, Release);
        }
    }
}

/// Two writers with records of these lengths, and a drain that looks while they write and once more afterwards.
fn every_order_keeps_records_whole(lengths: [&'static [u64]; 2]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let ring = Arc::new(Ring::new());
        let writers = [0, 1].map(|writer: usize| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let names = (writer as u64 * 10 + 1..).zip(lengths[writer]);
                names.filter(|(name, length)| ring.emit(*name, **length)).map(|(name, _)| name).collect::<Vec<_>>()
            })
        });
        let reading = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let (mut position, mut seen) = (0, Vec::new());
                ring.take(&mut position, &mut seen);
                (position, seen)
            })
        };
        let written = writers.map(|writer| writer.join().expect("a writer"));
        let (mut position, mut seen) = reading.join().expect("the drain");
        ring.take(&mut position, &mut seen);
        for (writer, names) in written.iter().enumerate() {
            let own: Vec<u64> = seen.iter().copied().filter(|name| name / 10 == writer as u64).collect();
            assert_eq!(own, *names);
        }
        let asked = lengths.iter().map(|lengths| lengths.len()).sum::<usize>();
        assert_eq!(seen.len(), written.iter().map(Vec::len).sum::<usize>());
        assert_eq!(seen.len() + ring.lost.load(Relaxed) as usize, asked, "what is not seen is counted");
    });
}

#[test]
fn short_records_of_two_writers_arrive_once_and_whole_or_are_counted() {
    every_order_keeps_records_whole([&[1, 1], &[1]]);
}

#[test]
fn a_long_record_among_short_ones_arrives_whole_or_is_counted() {
    every_order_keeps_records_whole([&[2, 1], &[1]]);
}
