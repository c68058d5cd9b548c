//! A recording made by hand: the events that a program with known behaviour would send.

use rscalene::profile::build::builder::{BuilderSettings, Context, ProfileBuilder};
use rscalene::profile::build::scope::{Scope, ScopeRules};
use rscalene::profile::model::{
    Clock, CpuSettings, File, Function, Line, MemorySettings, Profile, Settings, Target, Time, Tool,
};
use rscalene::transport::event::{Body, CodeDef, Event, StackDef, ThreadClock};
use rscalene_wire as wire;
use wire::{AllocFlags, CpuFlags};

/// Nanoseconds of a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// A recording in the making.
pub(crate) struct Recording {
    /// The builder that eats it.
    pub(crate) builder: ProfileBuilder,
    codes: u32,
    stacks: u64,
}

/// A location table in which the code unit at byte `2 * i` has line `first_line + i`, for 200 lines.
pub(crate) fn table() -> Vec<u8> {
    // Kind 13 (line by svarint, no columns), one code unit; svarint 0 first, then 1 (encoded 2).
    let entry = |delta: u8| [0x80 | (13 << 3), delta];
    std::iter::once(entry(0)).chain((1..200).map(|_| entry(2))).flatten().collect()
}

impl Recording {
    /// CPU by `source` and memory by `memory`, user code in `/w`.
    pub(crate) fn new(source: &str, memory: &str) -> Self {
        Self::with_rules(source, memory, ScopeRules { cwd: "/w".to_owned(), ..ScopeRules::default() })
    }

    /// As [`Recording::new`], with other rules of scope.
    pub(crate) fn with_rules(source: &str, memory: &str, rules: ScopeRules) -> Self {
        let settings = Settings {
            cpu: CpuSettings { source: source.to_owned(), interval_s: 0.001 },
            memory: MemorySettings { mode: memory.to_owned(), interval_bytes: Some(65_536) },
            ..Settings::default()
        };
        let scope = Scope::new(rules).expect("the globs are good");
        let builder =
            ProfileBuilder::new(BuilderSettings { settings, start_ns: 0, waits: true, in_process: false }, scope);
        Self { builder, codes: 0, stacks: 0 }
    }

    /// Feeds one event.
    pub(crate) fn feed(&mut self, pid: u32, body: Body) {
        self.builder.feed(&Event { pid, body });
    }

    /// A process arms itself.
    pub(crate) fn process(&mut self, pid: u32, parent: u32) {
        let start = wire::ProcessStart { pid, parent, python_version: 0x030c_01f0, ..Default::default() };
        self.feed(pid, Body::ProcessStart(start));
    }

    /// A thread begins; `source` 1 perf, 2 timer; sampled every millisecond.
    pub(crate) fn thread(&mut self, pid: u32, tid: u32, source: u32, cpu_ns: u64) {
        let source = wire::Source::of(source);
        self.feed(pid, Body::ThreadStart(wire::ThreadStart { time_ns: 0, tid, source, cpu_ns, interval_ns: MS }));
    }

    /// A thread ends with its clock.
    pub(crate) fn end(&mut self, pid: u32, tid: u32, cpu_ns: u64) {
        self.feed(pid, Body::ThreadEnd(wire::ThreadEnd { time_ns: u64::MAX / 2, tid, cpu_ns, ..Default::default() }));
    }

    /// The launcher reads a clock.
    pub(crate) fn clock(&mut self, pid: u32, tid: u32, time_ns: u64, cpu_ns: u64) {
        self.feed(pid, Body::ThreadClock(ThreadClock { time_ns, tid, cpu_ns, name: String::new() }));
    }

    /// A code object whose lines follow [`table`].
    pub(crate) fn code(&mut self, pid: u32, filename: &str, qualname: &str, first_line: u32) -> u32 {
        self.codes += 1;
        let def = wire::CodeDef { code: self.codes, first_line, ..Default::default() };
        let code = CodeDef { def, filename: filename.to_owned(), qualname: qualname.to_owned(), table: table() };
        self.feed(pid, Body::CodeDef(code));
        self.codes
    }

    /// A stack of (code, lines behind the first), leaf first.
    pub(crate) fn stack(&mut self, pid: u32, frames: &[(u32, u32)]) -> u64 {
        self.stacks += 1;
        let entries = frames.iter().map(|&(code, line)| wire::StackEntry { code, offset: 2 * line }).collect();
        let def = wire::StackDef { stack: self.stacks, depth: frames.len() as u32, lasting: 0 };
        self.feed(pid, Body::StackDef(StackDef { def, entries }));
        self.stacks
    }

    /// `count` samples of a millisecond; `kind` 0 python, 1 native, 2 system.
    pub(crate) fn samples(&mut self, pid: u32, tid: u32, stack: u64, kind: u8, count: u64) {
        for _ in 0..count {
            self.sample(pid, tid, stack, kind, MS, 0x1000);
        }
    }

    /// One sample.
    pub(crate) fn sample(&mut self, pid: u32, tid: u32, stack: u64, kind: u8, weight_ns: u64, pc: u64) {
        let kind = wire::CpuKind::of(kind);
        let sample = wire::CpuSample { time_ns: 1, stack, pc, weight_ns, tid, kind, ..Default::default() };
        self.feed(
            pid,
            Body::CpuSample { sample, flags: CpuFlags::NONE.and_if(kind == wire::CpuKind::SYSTEM, CpuFlags::TIMER) },
        );
    }

    /// An allocation; `interval` 0 is one that is always recorded.
    pub(crate) fn alloc(&mut self, pid: u32, time_ns: u64, stack: u64, address: u64, size: u64, interval: u64) {
        let alloc = wire::Alloc { time_ns, stack, address, size, interval, tid: pid, label: 0 };
        self.feed(pid, Body::Alloc { alloc, flags: AllocFlags::NONE.and_if(interval == 0, AllocFlags::CERTAIN) });
    }

    /// A free.
    pub(crate) fn free(&mut self, pid: u32, time_ns: u64, stack: u64, address: u64) {
        self.feed(pid, Body::Free(wire::Free { time_ns, stack, address, tid: pid, ..Default::default() }));
    }

    /// A process leaves by itself.
    pub(crate) fn leave(&mut self, pid: u32, how: u32, cpu_ns: u64) {
        self.feed(
            pid,
            Body::ProcessEnd(wire::ProcessEnd { cpu_ns, how: wire::EndedBy::of(how), ..Default::default() }),
        );
    }

    /// The profile, which a snapshot after the last event equals.
    pub(crate) fn finish(self) -> Profile {
        let snapshot = self.builder.snapshot(context(&mut |_| None, &mut |_, _| None));
        let profile = self.finish_with(&mut |_| None, &mut |_, _| None);
        assert_eq!(snapshot, profile);
        profile
    }

    /// The profile, with source text and native names.
    pub(crate) fn finish_with(
        self,
        source: &mut dyn FnMut(&str) -> Option<Vec<String>>,
        lookup: &mut dyn FnMut(&str, u64) -> Option<String>,
    ) -> Profile {
        self.builder.finish(context(source, lookup))
    }
}

fn context<'a>(
    source: &'a mut dyn FnMut(&str) -> Option<Vec<String>>,
    lookup: &'a mut dyn FnMut(&str, u64) -> Option<String>,
) -> Context<'a> {
    let target = Target { pid: 1, ..Target::default() };
    let tool = Tool { version: "test".to_owned() };
    Context { tool, target, clock: Clock::default(), notices: Vec::new(), source, lookup }
}

/// A file of a profile.
pub(crate) fn file<'a>(profile: &'a Profile, path: &str) -> &'a File {
    let paths: Vec<_> = profile.files.iter().map(|file| &file.path).collect();
    profile.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path} in {paths:?}"))
}

/// A line of a profile.
pub(crate) fn line<'a>(profile: &'a Profile, path: &str, number: u32) -> &'a Line {
    let lines = &file(profile, path).lines;
    lines.iter().find(|line| line.line == number).unwrap_or_else(|| panic!("no line {number} in {lines:?}"))
}

/// A function of a profile.
pub(crate) fn function<'a>(profile: &'a Profile, path: &str, qualname: &str) -> &'a Function {
    file(profile, path).functions.iter().find(|function| function.qualname == qualname).expect("the function is there")
}

/// CPU seconds of all kinds, and of those that nobody knows.
pub(crate) fn cpu(time: &Time) -> f64 {
    let split = time.python_s.zip(time.native_s).map(|(python, native)| python + native);
    assert!(split.or(time.user_s).is_some(), "CPU was measured");
    split.unwrap_or(0.0) + time.user_s.unwrap_or(0.0) + time.system_s.expect("CPU was measured")
}

/// CPU seconds of all lines.
pub(crate) fn lines_cpu(profile: &Profile) -> f64 {
    profile.files.iter().flat_map(|file| &file.lines).map(|line| cpu(&line.time)).sum()
}

/// Holds that two numbers of seconds are the same but for rounding.
#[track_caller]
pub(crate) fn same(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-9 * (1.0 + right.abs()), "{left} is not {right}");
}
