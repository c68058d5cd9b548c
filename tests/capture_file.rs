//! A capture gives back what was put in, and whatever happens to its bytes, only that.

use std::collections::BTreeMap;
use std::fs::File;

use fastrand::Rng;
use rscalene::transport::capture::{Damage, Reader, Writer};
use rscalene::transport::event::{Body, CodeDef, Counters, Event, Module, StackDef, Wait};
use rscalene_wire as wire;

type Origin = BTreeMap<String, u64>;

fn events(count: u64) -> Vec<Event> {
    let mut dice = Rng::with_seed(7);
    let event = |number: u64| {
        let time_ns = number * 1_000_003;
        let body = match dice.u64(..8) {
            0 => Body::ProcessStart(wire::ProcessStart { time_ns, pid: 7, ..wire::ProcessStart::default() }),
            1 => Body::CodeDef(CodeDef {
                def: wire::CodeDef::default(),
                filename: "app.py".repeat(dice.usize(..9)),
                qualname: "f\u{e9}".to_owned(),
                table: (0..dice.u64(..5000)).map(|byte| (byte ^ number) as u8).collect(),
            }),
            2 => Body::StackDef(StackDef {
                def: wire::StackDef { stack: dice.u64(..), depth: 3, lasting: 0 },
                entries: vec![wire::StackEntry { code: 1, offset: number as u32 }; 3],
            }),
            3 => Body::CpuSample {
                sample: wire::CpuSample { time_ns, stack: 5, ..Default::default() },
                flags: wire::CpuFlags::TIMER,
            },
            4 => Body::Counters(Box::new(Counters {
                lost: [number; wire::LOST_KINDS],
                frames_rejected: 0,
                memory_interval_bytes: u64::MAX,
                malformed: 6,
            })),
            5 => Body::Wait(Wait { time_ns, tid: 9, stack: 5, wait_ns: 11, gil_ns: Some(number), label: 3 }),
            6 => Body::Modules(vec![Module { start: 1, end: 2, offset: 3, path: "/lib/x.so".to_owned() }]),
            _ => Body::Rss { time_ns, bytes: dice.u64(..1 << 40), files: 4096, most: dice.u64(..) },
        };
        Event { pid: 7, body }
    };
    (0..count).map(event).collect()
}

fn capture(events: &[Event], limit: u64) -> (Vec<u8>, Option<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("capture");
    let origin: Origin = [("pid".to_owned(), 7)].into();
    let mut writer = Writer::begin(File::create(&path).expect("a file"), &origin, limit).expect("begun");
    events.iter().for_each(|event| writer.push(event));
    writer.flush();
    (std::fs::read(&path).expect("readable"), writer.ended().map(str::to_owned))
}

fn read(bytes: &[u8]) -> Result<(Vec<Event>, Option<Damage>), Damage> {
    let (reader, origin) = Reader::open::<Origin>(bytes)?;
    assert_eq!(origin.get("pid"), Some(&7));
    let mut events = Vec::new();
    let damage = reader.events(&mut |event| events.push(event));
    Ok((events, damage))
}

#[test]
fn records_come_out_in_the_order_written() {
    let put = events(1000);
    let (bytes, ended) = capture(&put, u64::MAX);
    assert_eq!(ended, None);
    assert_eq!(read(&bytes), Ok((put, None)));
}

#[test]
fn a_cut_gives_the_events_before_it() {
    let put = events(1000);
    let (bytes, _) = capture(&put, u64::MAX);
    let mut dice = Rng::with_seed(11);
    let places = (0..24).chain((0..40).map(|_| dice.usize(..bytes.len())));
    for place in places.chain([bytes.len() - 1]) {
        match read(&bytes[..place]) {
            Ok((events, damage)) => {
                assert!(put.starts_with(&events), "{place}");
                assert!(damage == Some(Damage::CutOff) || (damage.is_none() && events.len() < put.len()), "{place}");
            }
            Err(damage) => assert!(matches!(damage, Damage::Foreign | Damage::CutOff), "{place}: {damage:?}"),
        }
    }
}

#[test]
fn a_changed_byte_never_changes_an_event() {
    let put = events(1000);
    let (bytes, _) = capture(&put, u64::MAX);
    let mut dice = Rng::with_seed(13);
    let places = (0..40).chain((0..60).map(|_| dice.usize(..bytes.len())));
    for place in places.collect::<Vec<_>>() {
        let mut bad = bytes.clone();
        bad[place] ^= 1 + dice.u8(..255);
        if let Ok((events, damage)) = read(&bad) {
            assert!(put.starts_with(&events), "{place}");
            assert!(damage.is_some(), "{place}");
        }
    }
}

#[test]
fn any_bytes_behind_the_magic_are_refused_or_read_and_never_believed() {
    let mut dice = Rng::with_seed(17);
    for _ in 0..2000 {
        let mut bytes = b"rscapt03".to_vec();
        bytes.extend((0..dice.u64(..300)).map(|_| dice.u8(..)));
        assert!(read(&bytes).is_err());
    }
    assert_eq!(read(b"rscapt77and so on").err(), Some(Damage::OtherVersion));
    assert_eq!(read(b"PK\x03\x04 a zip file").err(), Some(Damage::Foreign));
}

#[test]
fn a_wrong_length_costs_at_most_a_block() {
    for (bytes, packed) in [(u32::MAX, 8), (8, u32::MAX), (u32::MAX, u32::MAX), (4 << 20, 4 << 20)] {
        let mut capture = b"rscapt03".to_vec();
        capture.extend(bytes.to_le_bytes());
        capture.extend(packed.to_le_bytes());
        capture.extend([0; 100]);
        assert!(matches!(read(&capture), Err(Damage::Corrupt | Damage::CutOff)));
    }
}

#[test]
fn a_capture_at_its_limit_ends_with_a_notice() {
    let put = events(1000);
    let (bytes, ended) = capture(&put, 20_000);
    assert!(bytes.len() <= 20_000);
    assert!(ended.expect("a reason").contains("it reached"));
    let (events, damage) = read(&bytes).expect("its beginning is whole");
    assert!(put.starts_with(&events));
    assert_eq!(damage, None);
}

#[test]
fn an_event_larger_than_a_piece_comes_out_whole() {
    let piece = 4 << 20;
    let command = |bytes: usize| Event { pid: 7, body: Body::Command(vec!["x".repeat(bytes)]) };
    // Around one piece and two; the length of the text and of the list take some bytes more.
    let sizes = [piece - 300_000, 2 * piece].into_iter().chain(piece - 12..piece + 2);
    let put: Vec<Event> = sizes.flat_map(|bytes| [command(bytes), command(3)]).collect();
    let (bytes, ended) = capture(&put, u64::MAX);
    assert_eq!(ended, None);
    assert!(read(&bytes) == Ok((put, None)), "not what was put in");
    // Many small events before a large one.
    let mut put = events(50);
    put.push(command(piece - 1000));
    put.extend(events(50));
    let (bytes, _) = capture(&put, u64::MAX);
    assert!(read(&bytes) == Ok((put, None)), "not what was put in");
}

#[test]
fn a_head_larger_than_a_piece_comes_out_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("capture");
    let origin = vec!["y".repeat(5 << 20)];
    Writer::begin(File::create(&path).expect("a file"), &origin, u64::MAX).expect("begun");
    let bytes = std::fs::read(&path).expect("readable");
    let (_, found) = Reader::open::<Vec<String>>(bytes.as_slice()).expect("a capture");
    assert!(found == origin);
}
