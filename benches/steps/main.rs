//! What each step takes between a call of the allocator, or a sample, and a page on the screen.
//!
//! The input is made here, so that a figure means the same on every machine: one process, four threads, stacks up to
//! 64 frames deep over 200 functions of 20 files. The hooks are measured by this very program, started once more with the
//! shim (`RSCALENE_SHIM` names it) and once without.

mod frames;
#[path = "../../tests/ring_target/mod.rs"]
mod ring_target;

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use rscalene::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use rscalene::profile::build::scope::{Scope, ScopeRules};
use rscalene::profile::model::{Clock, CpuSettings, MemorySettings, Profile, Settings, Target, Tool};
use rscalene::report::html::{HtmlOptions, render_html};
use rscalene::report::json::{self, Layout};
use rscalene::report::{Options, Style, export, render_table};
use rscalene::transport::decode;
use rscalene::transport::drain::Reader;
use rscalene::transport::event::{Body, CodeDef, Event, StackDef};
use rscalene_interp::walk_from;
use rscalene_wire as wire;

const PID: u32 = 100;
const FUNCTIONS: u32 = 200;
const STACKS: u64 = 2_000;
const SAMPLES: u64 = 100_000;

/// A location table in which code unit `i` has line `first + i`, for 50 lines.
fn table() -> Vec<u8> {
    let entry = |delta: u8| [0x80 | (13 << 3), delta];
    std::iter::once(entry(0)).chain((1..50).map(|_| entry(2))).flatten().collect()
}

/// The next of a fixed sequence of random numbers (an xorshift).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn definitions() -> Vec<Body> {
    let mut bodies = vec![Body::ProcessStart(wire::ProcessStart {
        pid: PID,
        python_version: 0x030b_07f0,
        ..wire::ProcessStart::default()
    })];
    for tid in 0..4 {
        let start = wire::ThreadStart {
            tid: PID + tid,
            source: wire::Source::PERF_AND_TIMER,
            interval_ns: 1_000_000,
            ..Default::default()
        };
        bodies.push(Body::ThreadStart(start));
    }
    for code in 1..=FUNCTIONS {
        let def = wire::CodeDef { code, first_line: code * 50, ..wire::CodeDef::default() };
        let (filename, qualname) = (format!("/w/module{}.py", code % 20), format!("function{code}"));
        bodies.push(Body::CodeDef(CodeDef { def, filename, qualname, table: table() }));
    }
    let mut state = 7;
    for stack in 1..=STACKS {
        let depth = 1 + random(&mut state) % 64;
        let entries = (0..depth)
            .map(|_| wire::StackEntry {
                code: 1 + (random(&mut state) % u64::from(FUNCTIONS)) as u32,
                offset: 2 * (random(&mut state) % 50) as u32,
            })
            .collect();
        let def = wire::StackDef { stack, depth: depth as u32, lasting: 0 };
        bodies.push(Body::StackDef(StackDef { def, entries }));
    }
    bodies
}

fn events() -> Vec<Event> {
    let mut bodies = definitions();
    let mut state = 11;
    for number in 0..SAMPLES {
        let sample = wire::CpuSample {
            time_ns: number * 1_000_000,
            stack: 1 + random(&mut state) % STACKS,
            weight_ns: 1_000_000,
            tid: PID + (number % 4) as u32,
            kind: wire::CpuKind::of((number % 2) as u8),
            ..wire::CpuSample::default()
        };
        bodies.push(Body::CpuSample { sample, flags: wire::CpuFlags::NONE });
    }
    bodies.into_iter().map(|body| Event { pid: PID, body }).collect()
}

fn builder() -> ProfileBuilder {
    let settings = Settings {
        cpu: CpuSettings { source: "perf".to_owned(), interval_s: 0.001 },
        memory: MemorySettings { mode: "off".to_owned(), interval_bytes: None },
        ..Settings::default()
    };
    let rules = ScopeRules { cwd: "/w".to_owned(), ..ScopeRules::default() };
    let scope = Scope::new(rules).expect("no globs");
    ProfileBuilder::new(BuilderSettings { settings, start_ns: 0, waits: true, in_process: false }, scope)
}

fn profile() -> Profile {
    let mut builder = builder();
    for event in events() {
        builder.feed(&event);
    }
    finish(builder)
}

fn source(_: &str) -> Option<String> {
    Some("    total = total * 31 + index  # a line\n".repeat(10_100))
}

fn finish(builder: ProfileBuilder) -> Profile {
    let mut lines = |path: &str| source(path).map(|text| text.lines().map(str::to_owned).collect());
    builder.finish(Context {
        tool: Tool { version: "bench".to_owned() },
        target: Target { pid: PID, ..Target::default() },
        clock: Clock::default(),
        notices: Vec::new(),
        source: &mut lines,
        lookup: &mut |_, _| None,
    })
}

fn steps(criterion: &mut Criterion) {
    let events = events();
    let mut group = criterion.benchmark_group("a hundred thousand samples");
    group.sample_size(10).throughput(Throughput::Elements(SAMPLES));
    group.bench_function("merge", |bench| {
        bench.iter_batched(
            builder,
            |mut builder| {
                for event in &events {
                    builder.feed(event);
                }
                finish(builder)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let sample = wire::CpuSample { stack: 7, weight_ns: 1_000_000, tid: 1, ..wire::CpuSample::default() };
    // SAFETY: the record is `repr(C)` without padding, and its bytes are only read.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const sample).cast::<u8>(), size_of::<wire::CpuSample>()) };
    let kind = wire::Kind::CpuSample as u8;
    let header = wire::RecordHeader { commit: 0, kind, flags: 0, reserved: 0, payload_bytes: bytes.len() as u32 };
    criterion
        .bench_function("decode a sample", |bench| bench.iter(|| decode::body(black_box(header), black_box(bytes))));

    let profile = profile();
    let style = Style { width: 120, color: true, unicode: true };
    let mut written = Vec::new();
    json::write(&profile, Layout::Compact, &mut written).expect("memory is not full");
    criterion.bench_function("write JSON", |bench| {
        bench.iter(|| json::write(&profile, Layout::Compact, &mut Vec::with_capacity(written.len())));
    });
    criterion.bench_function("read JSON", |bench| bench.iter(|| json::read_bytes("bench.json", black_box(&written))));
    criterion.bench_function("table", |bench| {
        bench.iter(|| render_table(black_box(&profile), &Options::default(), &style, &source));
    });
    criterion.bench_function("page", |bench| {
        bench.iter(|| render_html(black_box(&profile), &HtmlOptions::default(), &source));
    });
    criterion.bench_function("speedscope", |bench| bench.iter(|| export::speedscope(black_box(&profile), None)));
}

/// Records through a ring: written as the shim does, drained and decoded.
fn ring(criterion: &mut Criterion) {
    const RECORDS: u64 = 1_000;
    let (arena, target) = ring_target::arena(1 << 20);
    target.claim(0, std::process::id());
    let mut reader = Reader::new(Arc::clone(&arena));
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("write and drain", |bench| {
        bench.iter(|| {
            for number in 0..RECORDS {
                assert!(target.emit(0, wire::Kind::Free, &[number, 1, number << 4, 1]), "there is room");
            }
            reader.look(&mut |event| {
                black_box(event);
            });
        });
    });
    group.finish();
}

/// The walk over the frames of a thread, read from an array.
fn walks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk");
    for depth in [1, 20, 200] {
        let (memory, layout, leaf) = frames::chain(depth);
        group.throughput(Throughput::Elements(depth));
        group.bench_function(format!("{depth} frames"), |bench| {
            bench.iter(|| walk_from(black_box(&memory), &layout, leaf, 1_024, |frame| frame.code != 0));
        });
    }
    group.finish();
}

/// Tells the program that it is the measured one, what to do and how often.
const PART: &str = "RSCALENE_BENCH_PART";
const SHIM: &str = "RSCALENE_SHIM";

/// Calls of the allocator and of `memcpy`, and what they took.
fn part(name: &str, rounds: u64) -> Duration {
    let (from, mut into) = ([1_u8; 64], [0_u8; 64]);
    let start = Instant::now();
    for _ in 0..rounds {
        // SAFETY: each block is given back once, and both arrays hold the bytes that are copied.
        unsafe {
            match name {
                "malloc and free" => libc::free(black_box(libc::malloc(black_box(24)))),
                "calloc and free" => libc::free(black_box(libc::calloc(1, black_box(24)))),
                "realloc" => libc::free(black_box(libc::realloc(libc::malloc(black_box(24)), black_box(40)))),
                _ => {
                    libc::memcpy(into.as_mut_ptr().cast(), black_box(&from).as_ptr().cast(), black_box(64));
                }
            }
        }
        black_box(&mut into);
    }
    start.elapsed()
}

/// What the hooks add where nothing is recorded.
fn hooks(criterion: &mut Criterion) {
    let Some(shim) = std::env::var_os(SHIM) else {
        println!("hooks: left out, `{SHIM}` names no shim");
        return;
    };
    let own = std::env::current_exe().expect("this program");
    let mut group = criterion.benchmark_group("hooks");
    group.sample_size(10);
    for name in ["malloc and free", "calloc and free", "realloc", "memcpy"] {
        for (way, preload) in [("plain", None), ("preloaded", Some(&shim))] {
            group.bench_function(format!("{name}, {way}"), |bench| {
                bench.iter_custom(|rounds| {
                    let mut child = Command::new(&own);
                    child.env(PART, format!("{rounds} {name}")).envs(preload.map(|shim| ("LD_PRELOAD", shim)));
                    let said = child.output().expect("it starts").stdout;
                    let nanos = String::from_utf8_lossy(&said).trim().parse().expect("nanoseconds");
                    Duration::from_nanos(nanos)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, hooks, walks, ring, steps);

fn main() {
    if let Ok(asked) = std::env::var(PART) {
        let (rounds, name) = asked.split_once(' ').expect("rounds and a name");
        println!("{}", part(name, rounds.parse().expect("a number")).as_nanos());
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
