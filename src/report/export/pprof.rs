//! pprof's file, for `go tool pprof`, Grafana's Pyroscope, Parca and Polar Signals.
//!
//! Job: the stacks with CPU and wall nanoseconds and, where memory was profiled, allocated and peak bytes; threads and
//! the program's labels as labels of samples. The format is a gzip of protocol buffer messages (`profile.proto` of
//! github.com/google/pprof); this file writes nine kinds of messages by hand. Invariant: for every sample type the sum
//! of all samples is the tree's, to rounding. Neighbour: `speedscope` for the browser.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::labels::{Part, Parts};
use super::walk::path;
use crate::profile::model::Profile;
use crate::profile::model::StackNode;

/// A value of samples: name, unit, and the value of a node.
type SampleType = (&'static str, &'static str, fn(&StackNode) -> f64);

const TIME: [SampleType; 2] =
    [("cpu", "nanoseconds", |node| node.cpu_s * 1e9), ("wall", "nanoseconds", |node| node.wall_s * 1e9)];
const MEMORY: [SampleType; 4] = [
    ("alloc_space", "bytes", |node| node.alloc_bytes as f64),
    ("alloc_objects", "count", |node| node.alloc_count as f64),
    ("inuse_space", "bytes", |node| node.live_bytes as f64),
    ("peak_space", "bytes", |node| node.peak_bytes as f64),
];

/// The profile's stacks as a pprof file.
#[must_use]
pub fn pprof(profile: &Profile) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = packed.write_all(&message(profile));
    packed.finish().unwrap_or_default()
}

fn message(profile: &Profile) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut out = Message::default();
    let mut types: Vec<SampleType> = TIME.to_vec();
    if profile.totals.memory.alloc_bytes.is_some() {
        types.extend(MEMORY);
    }
    for (name, unit, _) in &types {
        out.message(1, &strings.value_type(name, unit));
    }
    samples(profile, &types, &mut strings, &mut out);
    let mut mapping = Message::default();
    mapping.number(1, 1);
    mapping.number(5, strings.id(profile.target.command.first().map_or("python", String::as_str)));
    // The mapping has functions, file names and line numbers.
    [7, 8, 9].into_iter().for_each(|field| mapping.number(field, 1));
    out.message(3, &mapping);
    places(profile, &mut strings, &mut out);
    let started = humantime::parse_rfc3339(&profile.clock.started_at).ok();
    let started = started.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    out.number(9, u64::try_from(started.as_nanos()).unwrap_or(0));
    out.number(10, nanoseconds(profile.clock.elapsed_s));
    out.message(11, &strings.value_type("cpu", "nanoseconds"));
    out.number(12, nanoseconds(profile.settings.cpu.interval_s));
    out.number(13, strings.id(&profile.target.command.join(" ")));
    out.number(14, strings.id("cpu"));
    for text in &strings.texts {
        out.bytes(6, text.as_bytes());
    }
    out.0
}

/// Writes a sample for each node. A node with shares of threads or labels gets a sample for each share and for the
/// rest.
fn samples(profile: &Profile, types: &[SampleType], strings: &mut Strings, out: &mut Message) {
    let nodes = &profile.stacks.nodes;
    let parts = Parts::new(profile);
    let mut shares: BTreeMap<usize, Vec<(usize, StackNode)>> = BTreeMap::new();
    for share in &profile.stacks.by_thread {
        let (cpu_s, wall_s, alloc_bytes) = (share.cpu_s, share.wall_s, share.alloc_bytes);
        let own = StackNode { cpu_s, wall_s, alloc_bytes, ..StackNode::default() };
        shares.entry(share.node).or_default().push((share.thread, own));
    }
    for (index, node) in nodes.iter().enumerate() {
        let mut locations = Message::default();
        let mut at = Some(node);
        while let Some(node) = at {
            locations.varint(node.frame as u64 + 1);
            at = node.parent.and_then(|parent| nodes.get(parent));
        }
        let mut put = |values: &[i64], thread: Option<usize>, label: Option<usize>| {
            if values.iter().all(|value| *value == 0) {
                return;
            }
            let mut sample = Message::default();
            sample.bytes(1, &locations.0);
            let mut packed = Message::default();
            values.iter().for_each(|value| packed.varint(value.cast_unsigned()));
            sample.bytes(2, &packed.0);
            if let Some(thread) = thread.and_then(|thread| profile.threads.get(thread)) {
                sample.message(3, &strings.label("thread", &thread.name));
                sample.message(3, &strings.number_label("thread_id", u64::from(thread.tid)));
                sample.message(3, &strings.number_label("pid", u64::from(thread.pid)));
            }
            for (key, value) in label.iter().flat_map(|label| &profile.labels[*label].labels) {
                sample.message(3, &strings.label(key, value));
            }
            out.message(2, &sample);
        };
        let mut put_parts = |values: Vec<i64>, thread: Option<usize>| {
            let mut left = values.clone();
            for part in parts.of(index) {
                let own = labelled(part, &values, &left);
                left.iter_mut().zip(&own).for_each(|(left, value)| *left -= value);
                put(&own, thread, Some(part.label));
            }
            put(&left, thread, None);
        };
        let mut left: Vec<i64> = types.iter().map(|(_, _, value)| value(node).round() as i64).collect();
        for (thread, own) in shares.get(&index).map_or(&[][..], Vec::as_slice) {
            // In a window of a running profile, the threads of a stack may have gained a little more than the stack.
            let of = |((_, _, value), left): (&SampleType, &i64)| (value(own).round() as i64).min(*left);
            let values: Vec<i64> = types.iter().zip(&left).map(of).collect();
            left.iter_mut().zip(&values).for_each(|(left, value)| *left -= value);
            put_parts(values, Some(*thread));
        }
        put_parts(left, None);
    }
}

/// Values of a label's share of a sample, at most `left`. Labels have no waiting, and no live bytes, so the wall time of
/// a label is its CPU time.
fn labelled(part: &Part, values: &[i64], left: &[i64]) -> Vec<i64> {
    let of = |value: i64, share: f64| (value as f64 * share).round() as i64;
    let cpu = of(values[0], part.cpu);
    let mut own = vec![cpu, cpu];
    own.extend(values.iter().skip(2).take(2).map(|amount| of(*amount, part.alloc)));
    own.resize(values.len(), 0);
    // Rounding must not make a share larger than the rest.
    own.iter_mut().zip(left).for_each(|(own, left)| *own = (*own).min((*left).max(0)));
    own
}

/// Writes a location for each frame, and the functions.
fn places(profile: &Profile, strings: &mut Strings, out: &mut Message) {
    let mut first_lines: HashMap<(usize, &str), u32> = HashMap::new();
    for (index, file) in profile.files.iter().enumerate() {
        for function in &file.functions {
            first_lines.entry((index, &function.qualname)).or_insert(function.first_line);
        }
    }
    let mut functions: HashMap<(usize, &str), u64> = HashMap::new();
    for (index, frame) in (1_u64..).zip(&profile.stacks.frames) {
        let next = functions.len() as u64 + 1;
        let key = (frame.file, frame.function.as_str());
        let function = *functions.entry(key).or_insert(next);
        if function == next {
            let mut message = Message::default();
            message.number(1, next);
            let name = strings.id(&frame.function);
            message.number(2, name);
            message.number(3, name);
            message.number(4, strings.id(path(profile, frame)));
            message.number(5, u64::from(first_lines.get(&key).copied().unwrap_or(0)));
            out.message(5, &message);
        }
        let mut line = Message::default();
        line.number(1, function);
        line.number(2, u64::from(frame.line));
        let mut location = Message::default();
        location.number(1, index);
        location.number(2, 1);
        location.message(4, &line);
        out.message(4, &location);
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// Bytes of a message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}

/// The table of strings, whose first is empty.
struct Strings {
    texts: Vec<String>,
    ids: HashMap<String, u64>,
}

impl Default for Strings {
    fn default() -> Self {
        Self { texts: vec![String::new()], ids: HashMap::from([(String::new(), 0)]) }
    }
}

impl Strings {
    fn id(&mut self, text: &str) -> u64 {
        let next = self.texts.len() as u64;
        let id = *self.ids.entry(text.to_owned()).or_insert(next);
        if id == next {
            self.texts.push(text.to_owned());
        }
        id
    }

    fn value_type(&mut self, name: &str, unit: &str) -> Message {
        let mut message = Message::default();
        message.number(1, self.id(name));
        message.number(2, self.id(unit));
        message
    }

    fn label(&mut self, key: &str, text: &str) -> Message {
        let mut message = Message::default();
        message.number(1, self.id(key));
        message.number(2, self.id(text));
        message
    }

    fn number_label(&mut self, key: &str, number: u64) -> Message {
        let mut message = Message::default();
        message.number(1, self.id(key));
        message.number(3, number);
        message
    }
}
