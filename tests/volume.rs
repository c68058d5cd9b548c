//! A day of records: what the launcher keeps of a program is bounded by the program, not by how long it runs.
//!
//! A builder is fed by hand, a second of a busy program at a time; what it holds is counted by the allocator of this test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use rscalene::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use rscalene::profile::build::scope::{Scope, ScopeRules};
use rscalene::profile::model::{Clock, Profile, Settings, Target, Tool};
use rscalene::transport::event::{Body, CodeDef, Event, ProcessExit, StackDef, ThreadClock, Wait};
use rscalene_wire as wire;

thread_local! {
    /// Bytes that this thread holds, and the most it ever held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(bytes: isize) {
    HELD.with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: passes everything on to the system's allocator; the counter needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600;
/// Samples, allocations and looks at the resident memory in a second.
const PARTS: u64 = 4;
/// Lines that are busy, each on a stack of its own.
const STACKS: u64 = 300;

struct Program {
    builder: ProfileBuilder,
    blocks: u64,
}

impl Program {
    fn new() -> Self {
        let scope = Scope::new(ScopeRules { cwd: "/w".to_owned(), ..ScopeRules::default() }).expect("no globs");
        let mut shown = Settings::default();
        "exact".clone_into(&mut shown.memory.mode);
        let settings = BuilderSettings { settings: shown, start_ns: 0, waits: true, in_process: false };
        let mut program = Self { builder: ProfileBuilder::new(settings, scope), blocks: 0 };
        program.process(1, 0);
        program
    }

    fn feed(&mut self, pid: u32, body: Body) {
        self.builder.feed(&Event { pid, body });
    }

    /// A process begins: its code, its stacks, its first thread.
    fn process(&mut self, pid: u32, parent: u32) {
        let start = wire::ProcessStart { pid, parent, python_version: 0x030c_01f0, ..Default::default() };
        self.feed(pid, Body::ProcessStart(start));
        let table = [0x80 | (13 << 3), 2].repeat(STACKS as usize);
        let def = wire::CodeDef { code: 1, first_line: 1, ..Default::default() };
        let (filename, qualname) = ("/w/app.py".to_owned(), "work".to_owned());
        self.feed(pid, Body::CodeDef(CodeDef { def, filename, qualname, table }));
        for stack in 1..=STACKS {
            let entries = vec![wire::StackEntry { code: 1, offset: 2 * stack as u32 }];
            let def = wire::StackDef { stack, depth: 1, lasting: 0 };
            self.feed(pid, Body::StackDef(StackDef { def, entries }));
        }
        self.thread(pid, pid, 0);
    }

    fn thread(&mut self, pid: u32, tid: u32, time_ns: u64) {
        let start = wire::ThreadStart {
            time_ns,
            tid,
            source: wire::Source::PERF_AND_TIMER,
            cpu_ns: 0,
            interval_ns: SECOND / 20,
        };
        self.feed(pid, Body::ThreadStart(start));
    }

    /// A second of the first process; a short thread every eight, a short child every minute.
    fn second(&mut self, second: u64) {
        let now = second * SECOND;
        for part in 0..PARTS {
            let (time_ns, stack) = (now + part * SECOND / PARTS, (second * 7 + part * 31) % STACKS + 1);
            let sample =
                wire::CpuSample { time_ns, stack, pc: 1, weight_ns: SECOND / PARTS, tid: 1, ..Default::default() };
            self.feed(1, Body::CpuSample { sample, flags: wire::CpuFlags::NONE });
            // Each block lives for a thousand others.
            self.blocks += 1;
            let address = |block: u64| 0x1000 + block * 4096;
            let alloc = wire::Alloc {
                time_ns,
                stack,
                address: address(self.blocks),
                size: 1009,
                interval: 65_536,
                tid: 1,
                label: 0,
            };
            self.feed(1, Body::Alloc { alloc, flags: wire::AllocFlags::NONE });
            if self.blocks > 1000 {
                let address = address(self.blocks - 1000);
                let free = wire::Free { time_ns, stack, address, tid: 1, ..Default::default() };
                self.feed(1, Body::Free(free));
            }
            self.feed(1, Body::Rss { time_ns, bytes: (64 << 20) + (second % 977) * 4096, files: 0, most: 0 });
        }
        self.feed(
            1,
            Body::Wait(Wait {
                time_ns: now,
                tid: 1,
                stack: second % STACKS + 1,
                wait_ns: 1000,
                gil_ns: Some(0),
                label: 0,
            }),
        );
        self.feed(1, Body::ThreadClock(ThreadClock { time_ns: now, tid: 1, cpu_ns: now, name: String::new() }));
        if second.is_multiple_of(8) {
            let tid = 1_000_000 + second as u32;
            self.thread(1, tid, now);
            let end = wire::ThreadEnd { time_ns: now, tid, cpu_ns: 1000, ..Default::default() };
            self.feed(1, Body::ThreadEnd(end));
        }
        if second % 60 == 59 {
            let pid = 100_000 + second as u32;
            self.process(pid, 1);
            self.feed(
                pid,
                Body::ProcessEnd(wire::ProcessEnd {
                    cpu_ns: 1000,
                    how: wire::EndedBy::UNDERSCORE_EXIT,
                    ..Default::default()
                }),
            );
            let exit = ProcessExit { time_ns: now, code: Some(0), signal: None, peak_rss: None, cpu_ns: Some(1000) };
            self.feed(pid, Body::ProcessExit(exit));
        }
    }

    fn finish(self) -> Profile {
        self.builder.finish(Context {
            tool: Tool { version: "test".to_owned() },
            target: Target { pid: 1, ..Target::default() },
            clock: Clock::default(),
            notices: Vec::new(),
            source: &mut |_| None,
            lookup: &mut |_, _| None,
        })
    }
}

#[test]
fn a_day_of_records_takes_little_more_memory_than_its_first_hours() {
    let before = HELD.get().0;
    let mut program = Program::new();
    let mut after = Vec::new();
    for hour in 0..24 {
        for second in hour * HOUR..(hour + 1) * HOUR {
            program.second(second);
        }
        after.push(HELD.get().0 - before);
    }
    let profile = program.finish();
    let most = HELD.get().1 - before;
    assert!(after[23] < after[5] + (2 << 20), "bytes held after each hour: {after:?}");
    assert!(most < 50 << 20, "{most} bytes at most, the report included");
    assert!(profile.threads.len() > 4000 && profile.processes.len() > 1400);
}

/// A program whose call paths never repeat: each allocates once, 40 calls deep.
#[test]
fn call_paths_that_never_repeat_take_bounded_memory_and_give_a_notice() {
    const DEPTH: u64 = 40;
    let before = HELD.get().0;
    let mut program = Program::new();
    let mut named = 0u64;
    for path in 0..200_000u64 {
        // Leaf first: which of two call sites each level of the path takes.
        let bits = path.wrapping_mul(2_654_435_761) % (1 << DEPTH);
        let entry = |level: u64| wire::StackEntry { code: 1, offset: 2 * (1 + (bits >> level & 1)) as u32 };
        let entries: Vec<wire::StackEntry> = (0..DEPTH).rev().map(entry).collect();
        let stack = path.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let def = wire::StackDef { stack, depth: DEPTH as u32, lasting: 0 };
        program.feed(1, Body::StackDef(StackDef { def, entries }));
        let (address, size) = (0x1000 + path * 4096, 1009);
        let alloc = wire::Alloc { time_ns: path, stack, address, size, interval: 0, tid: 1, label: 0 };
        program.feed(1, Body::Alloc { alloc, flags: wire::AllocFlags::CERTAIN });
        let free = wire::Free { time_ns: path, stack, address, tid: 1, ..Default::default() };
        program.feed(1, Body::Free(free));
        named += size;
    }
    let held = HELD.get().0 - before;
    let profile = program.finish();
    let most = HELD.get().1 - before;
    // A million nodes of the tree would be 56 MB, and 180 MB with the report.
    assert!(held < 36 << 20, "{held} bytes held");
    assert!(most < 90 << 20, "{most} bytes at most, the report included");
    // The figures are whole.
    assert_eq!(profile.totals.memory.alloc_bytes, Some(named));
    assert_eq!(profile.files[0].lines.iter().filter_map(|line| line.memory.alloc_bytes).sum::<u64>(), named);
    let notice = profile.notices.iter().find(|notice| notice.code == "folded_paths").expect("it is told");
    assert!(notice.text.contains("too many call paths"), "{notice}");
}
