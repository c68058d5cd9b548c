//! The arena between a writer that keeps to the protocol, or breaks it, and the drain.
//!
//! The writer is that of `ring_target`.

mod ring_target;

use std::collections::HashMap;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use fastrand::Rng;
use ring_target::{SEGMENTS, arena};
use rscalene::transport::drain::Reader;
use rscalene::transport::event::{Body, Event};
use rscalene_wire as wire;
use wire::{Kind, PAGE, SLOT};

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

/// A process that lives until it is killed.
fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().expect("a process")
}

#[test]
fn records_before_an_exec_come_first_and_their_ring_becomes_free() {
    let (arena, target) = arena(PAGE * 2);
    let mut owner = sleeper();
    let mut reader = Reader::new(Arc::clone(&arena));
    let mut events = Vec::new();
    // Backwards, and with another ring in front: the order of the segments does not matter.
    target.claim(0, std::process::id());
    for (segment, program) in [(3, 1), (2, 2), (1, 3)] {
        target.claim(segment, owner.id());
        reader.look(&mut |event| events.push(event));
        assert!(target.emit(segment, Kind::StackDef, &[program, 0]));
    }
    reader.look(&mut |event| events.push(event));
    owner.kill().expect("it lives");
    owner.wait().expect("its end");
    let programs: Vec<_> =
        events.iter().map(|event| if let Body::StackDef(stack) = &event.body { stack.def.stack } else { 0 }).collect();
    assert_eq!(programs, [1, 0, 2, 0, 3], "each with its counters behind it");
    assert_eq!([0, 1, 2, 3].map(|segment| arena.owner(segment) != 0), [true, true, false, false]);
}

#[test]
fn the_ring_of_a_dead_process_is_handed_out_as_new() {
    let (arena, target) = arena(PAGE * 32);
    let mut gone = Command::new("true").spawn().expect("a process");
    gone.wait().expect("its end");
    // Few records, whose memory is kept, and many, whose memory is given back.
    for records in [3, 700] {
        target.claim(1, gone.id());
        for number in 0..records {
            assert!(target.emit(1, Kind::StackDef, &[number, 0]));
        }
        target.header(1).lost[3].store(5, Relaxed);
        let mut reader = Reader::new(Arc::clone(&arena));
        let mut events = Vec::new();
        while arena.owner(1) != 0 {
            reader.look(&mut |event| events.push(event));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(events.len() as u64, records + 1, "the records and the counters");
        assert!(matches!(&events[events.len() - 1].body, Body::Counters(counters) if counters.lost[3] == 5));
        let words = (target.segment(1)..target.segment(2)).step_by(8);
        assert!(words.into_iter().all(|address| target.word(address).load(Relaxed) == 0));
    }
}

#[test]
fn a_target_that_writes_anything_anywhere_breaks_nothing_and_is_read_in_bounded_time() {
    let mut dice = Rng::with_seed(29);
    let mut owners: Vec<_> = (0..SEGMENTS).map(|_| sleeper()).collect();
    let rounds = std::env::var("RSCALENE_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60);
    for _ in 0..rounds {
        let segment_bytes = PAGE * (2 + dice.usize(..3));
        let (arena, target) = arena(segment_bytes);
        let mut reader = Reader::new(Arc::clone(&arena));
        let mut events = 0_u64;
        for (number, owner) in (0..).zip(&owners) {
            target.claim(number, owner.id());
        }
        for _ in 0..20 {
            for _ in 0..dice.u64(..40) {
                let number = dice.u32(..SEGMENTS);
                let slots = ((segment_bytes - PAGE) / SLOT) as u64;
                match dice.u64(..6) {
                    // A record that says anything about itself.
                    0..=2 => {
                        let payload: Vec<u64> =
                            (0..dice.u64(..20)).map(|_| dice.u64(..) >> (dice.u64(..8) * 8)).collect();
                        target.emit(number, Kind::from_u8(1 + dice.u8(..14)).expect("a kind"), &payload);
                    }
                    // A committed slot of noise.
                    3 => {
                        let position = dice.u64(..slots);
                        let at = target.segment(number) + PAGE + position as usize * SLOT;
                        for word in 1..8 {
                            target.word(at + word * 8).store(dice.u64(..) >> (dice.u64(..8) * 8), Relaxed);
                        }
                        target.word(at).store(wire::commit_word(position), Release);
                    }
                    // Positions that lie.
                    4 => target.header(number).head.store(dice.u64(..) >> (dice.u64(..8) * 8), Release),
                    _ => target.header(number).tail.store(dice.u64(..), Release),
                }
            }
            reader.look(&mut |_| events += 1);
        }
        reader.finish(&mut |_| events += 1);
        assert!(events >= u64::from(SEGMENTS), "the counters of each segment come at the end");
        // SAFETY: the mapping of this round, which nobody uses any more.
        unsafe { libc::munmap(target.base as *mut libc::c_void, target.bytes) };
    }
    for owner in &mut owners {
        owner.kill().expect("it lives");
        owner.wait().expect("its end");
    }
}
