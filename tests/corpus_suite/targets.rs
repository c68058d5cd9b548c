//! What reads bytes that it cannot trust: each target is given any bytes, and must neither panic nor believe them.

use rscalene::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use rscalene::profile::build::scope::{Scope, ScopeRules};
use rscalene::profile::model::{self, Clock, CpuSettings, MemorySettings, Profile, Settings, Tool};
use rscalene::report::export::Look;
use rscalene::report::{Format, Options, Style, read_json};
use rscalene::transport::capture::Reader;
use rscalene::transport::decode;
use rscalene::transport::event::Event;
use rscalene_interp::linetable::{line_at, locations};
use rscalene_interp::{
    Identity, Layout, Memory, TaskSource, await_chain, gil, running_threads, tasks, text, thread_names, threads, walk,
};
use rscalene_wire::RecordHeader;

/// Takes any bytes.
pub(crate) type Target = fn(&[u8]);

/// Each by its name, which is that of its folder in the corpus.
pub(crate) const TARGETS: [(&str, Target); 6] = [
    ("records", records),
    ("captures", captures),
    ("blocks", blocks),
    ("profiles", profiles),
    ("linetables", linetables),
    ("memory", memory),
];

/// Records of a ring (process, kind, flags, length, payload), up to the report.
fn records(bytes: &[u8]) {
    let mut builder = builder();
    let mut rest = bytes;
    while let Some((&[pid, kind, flags, length], behind)) = rest.split_first_chunk() {
        let (payload, behind) = behind.split_at(usize::from(length).min(behind.len()));
        let header = RecordHeader { commit: 1, kind, flags, reserved: 0, payload_bytes: payload.len() as u32 };
        if let Some(body) = decode::body(header, payload) {
            builder.feed(&Event { pid: u32::from(pid % 4), body });
        }
        rest = behind;
    }
    report(builder);
}

/// A capture, as it lies on the disk.
fn captures(bytes: &[u8]) {
    let Ok((reader, _)) = Reader::open::<serde_json::Value>(bytes) else { return };
    let mut builder = builder();
    reader.events(&mut |event| builder.feed(&event));
    report(builder);
}

/// The events of a capture, whose checksum is right.
fn blocks(bytes: &[u8]) {
    let mut capture = b"rscapt03".to_vec();
    for block in [b"{}".as_slice(), bytes] {
        let packed = lz4_flex::block::compress(block);
        let sum = packed
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        capture.extend((block.len() as u32).to_le_bytes());
        capture.extend((packed.len() as u32).to_le_bytes());
        capture.extend(sum.to_le_bytes());
        capture.extend(packed);
    }
    assert!(Reader::open::<serde_json::Value>(capture.as_slice()).is_ok(), "the capture is none");
    captures(&capture);
}

/// A profile, in every format.
fn profiles(bytes: &[u8]) {
    match read_json("run.json", bytes) {
        Ok(profile) => show(&profile),
        Err(error) => assert!(!error.hint.is_empty(), "{error}"),
    }
}

/// A location table, behind its first line and an offset.
fn linetables(bytes: &[u8]) {
    let Some((&[a, b, c, d, e, f, g, h], table)) = bytes.split_first_chunk() else { return };
    let first_line = u32::from_le_bytes([a, b, c, d]);
    let mut end = 0;
    for location in locations(table, first_line) {
        assert!(location.start == end && location.end > location.start, "entries follow each other");
        end = location.end;
    }
    assert_eq!(line_at(table, first_line, end), None);
    let _ = line_at(table, first_line, u32::from_le_bytes([e, f, g, h]));
}

/// The memory of a process: its runtime, threads, frames, text, tasks.
fn memory(bytes: &[u8]) {
    const BASE: u64 = 0x10_0000;
    const CODE_TYPE: u64 = BASE + 0x100;
    let Some((&version, image)) = bytes.split_first() else { return };
    let mut image = image.to_vec();
    image.resize(image.len().max(0x400), 0);
    let version = 0x0300_00f0 | (u32::from(version % 5) + 11) << 16;
    if version >= 0x030d_0000 {
        // What it must begin with to be looked at.
        image[..8].copy_from_slice(b"xdebugpy");
        image[8..16].copy_from_slice(&u64::from(version).to_le_bytes());
    }
    let memory = Array { base: BASE, bytes: image };
    let Ok(layout) = Layout::of(version, BASE, CODE_TYPE, &memory) else { return };
    let mut out = [0; 64];
    for at in (BASE..BASE + 0x400).step_by(64) {
        walk(&memory, &layout, at, 1000, |_| true);
        if let Some(identity) = Identity::read(&memory, &layout, at) {
            assert_ne!(identity.hash64(), 0);
            let _ = identity.linetable(&layout);
        }
        if let Some(length) = text(&memory, &layout, at, &mut out) {
            assert!(std::str::from_utf8(&out[..length]).is_ok(), "text is UTF-8");
        }
        gil(&memory, &layout, at);
        if let Some(running) = running_threads(&memory, &layout, at) {
            thread_names(&memory, &layout, running, |_| true, |_, _| ());
        }
        if let Some(source) = TaskSource::find(&memory, &layout, at, Some(at + 8)) {
            let mut left = 100;
            tasks(&memory, &layout, source, (at, BASE), |task| {
                await_chain(&memory, &layout, task, |_| true);
                left -= 1;
                left > 0
            });
        }
    }
    let mut left = 1000;
    threads(&memory, &layout, |_| {
        left -= 1;
        left > 0
    });
}

/// Bytes from an address on; everything else cannot be read.
struct Array {
    base: u64,
    bytes: Vec<u8>,
}

impl Memory for Array {
    fn u64(&self, addr: u64) -> Option<u64> {
        let mut raw = [0; 8];
        self.bytes(addr, &mut raw).then(|| u64::from_ne_bytes(raw))
    }

    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        let from = addr.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let found = from.and_then(|from| self.bytes.get(from..from.checked_add(into.len())?));
        found.map(|found| into.copy_from_slice(found)).is_some()
    }
}

fn builder() -> ProfileBuilder {
    let settings = Settings {
        cpu: CpuSettings { source: "perf".to_owned(), interval_s: 0.001 },
        memory: MemorySettings { mode: "sampled".to_owned(), interval_bytes: Some(65_536) },
        ..Settings::default()
    };
    let scope = Scope::new(ScopeRules { cwd: "/w".to_owned(), all: true, ..ScopeRules::default() }).expect("no globs");
    ProfileBuilder::new(BuilderSettings { settings, start_ns: 0, waits: true, in_process: false }, scope)
}

/// What is merged can be shown, and what is written can be read.
fn report(builder: ProfileBuilder) {
    let profile = builder.finish(Context {
        tool: Tool { version: "fuzz".to_owned() },
        target: model::Target { pid: 1, ..model::Target::default() },
        clock: Clock::default(),
        notices: Vec::new(),
        source: &mut |_| None,
        lookup: &mut |_, _| None,
    });
    let text = serde_json::to_vec(&profile).expect("every number is finite or null");
    let read = read_json("run.json", text.as_slice()).expect("what is written can be read");
    show(&read);
}

fn show(profile: &Profile) {
    let options = Options { per_process: true, all_lines: true, ..Options::default() };
    let look = Look { options, style: Style::PLAIN, source: true, weight: None, read_source: &|_| None };
    for format in Format::ALL {
        drop(format.encode(profile, &look));
    }
}
