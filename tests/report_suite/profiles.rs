//! Profiles to render: one as a program leaves it, and one that means harm.

use rscalene::profile::model::*;

/// The source of the file that [`realistic`] profiled.
pub(crate) const SOURCE: &str = r#""""Simulate orders and report totals."""
import json
import sys
import time

import numpy as np

CACHE = {}
LIMIT = 100_003


def load(path):
    with open(path, "rb") as handle:
        raw = handle.read()
    return json.loads(raw)


def normalise(rows):
    # 한국어 주석: 모든 행을 정규화한다
    scale = max(row["amount"] for row in rows) or 1
    return [dict(row, amount=row["amount"] / scale) for row in rows]


def simulate(rows, steps):
    total = 0.0
    for step in range(steps):
        prices = np.random.standard_normal((len(rows), 64))
        weights = prices @ prices.T  # quadratic in rows: the reason why the nightly report needs so much memory at its end
        total += float(weights.trace())
        CACHE[step] = weights[:64].copy()
    return total


def wait_for_lock():
    time.sleep(0.25)


def report(rows, total):
    """Print what was found."""
    for row in rows:
        sys.stdout.write(f"{row['name']}: {row['amount']:.3f}\n")
    print("total", total)


def main():
    rows = normalise(load(sys.argv[1]))
    wait_for_lock()
    report(rows, simulate(rows, int(sys.argv[2])))


if __name__ == "__main__":
    main()
"#;

/// Time in milliseconds: python, native, system, wait.
pub(crate) fn time(python: f64, native: f64, system: f64, wait: f64) -> Time {
    let s = |ms: f64| Some(ms / 1e3);
    Time { python_s: s(python), native_s: s(native), system_s: s(system), wait_s: s(wait), ..Time::default() }
}

/// Memory in KiB: allocated, freed, live, at peak, copied; standard errors of `error` of each.
pub(crate) fn memory(alloc: u64, free: u64, live: u64, peak: u64, copy: u64, error: f64) -> Memory {
    let se = |kib: u64| Some(kib as f64 * 1024.0 * error);
    Memory {
        alloc_bytes: Some(alloc << 10),
        alloc_bytes_se: se(alloc),
        alloc_count: Some(alloc / 7),
        free_bytes: Some(free << 10),
        increment_bytes: Some((alloc << 10) as i64 - (free << 10) as i64),
        live_bytes: Some(live << 10),
        live_bytes_se: se(live),
        peak_bytes: Some(peak << 10),
        peak_bytes_se: se(peak),
        mem_usage_bytes: Some(412 << 20),
        python_alloc_bytes: Some(alloc << 9),
        copy_bytes: Some(copy << 10),
        copy_bytes_se: se(copy),
    }
}

fn line(number: u32, function: &str, time: Time, memory: Memory) -> Line {
    let cpu_ms = (time.python_s.unwrap_or(0.0) + time.native_s.unwrap_or(0.0) + time.system_s.unwrap_or(0.0)) * 1e3;
    Line {
        line: number,
        function: function.to_owned(),
        source: SOURCE.lines().nth(number as usize - 1).map(str::to_owned),
        time,
        cpu_samples: cpu_ms as u64,
        cpu_s_se: (cpu_ms >= 1.0).then(|| cpu_ms.sqrt() / 1e3),
        memory,
        ..Line::default()
    }
}

fn function(name: &str, first_line: u32, last_line: u32, own: Time, cumulative_s: f64, alloc: u64) -> Function {
    Function {
        name: name.to_owned(),
        qualname: name.to_owned(),
        first_line,
        last_line,
        own,
        cpu_s_se: None,
        cumulative: Cumulative {
            cpu_s: Some(cumulative_s),
            wall_s: Some(cumulative_s + 0.251),
            alloc_bytes: Some(alloc << 10),
        },
    }
}

/// A program of 3 s as it would really be seen.
pub(crate) fn realistic() -> Profile {
    let mut lines = vec![
        line(6, "<module>", time(41.0, 12.0, 8.0, 3.0), memory(9_113, 1_711, 7_402, 7_402, 913, 0.08)),
        line(13, "load", time(0.0, 1.0, 7.0, 1.0), memory(16, 16, 0, 0, 0, 1.0)),
        line(14, "load", time(0.0, 2.0, 31.0, 18.0), memory(8_197, 0, 0, 8_197, 8_197, 0.0)),
        line(15, "load", time(3.0, 212.0, 4.0, 0.0), memory(61_441, 8_203, 0, 53_249, 411, 0.031)),
        line(20, "normalise", time(118.0, 9.0, 0.0, 0.0), memory(0, 0, 0, 0, 0, 0.0)),
        line(21, "normalise", time(402.0, 31.0, 2.0, 0.0), memory(31_737, 9, 0, 31_729, 77, 0.042)),
        line(27, "simulate", time(4.0, 388.0, 11.0, 0.0), memory(204_811, 202_763, 0, 2_049, 0, 0.0)),
        line(28, "simulate", time(2.0, 1_207.0, 81.0, 0.0), memory(1_638_431, 1_630_211, 0, 307_201, 0, 0.0)),
        line(29, "simulate", time(12.0, 9.0, 0.0, 0.0), memory(0, 0, 0, 0, 0, 0.0)),
        line(30, "simulate", time(6.0, 17.0, 3.0, 0.0), memory(12_289, 0, 12_289, 3_073, 12_289, 0.0)),
        line(35, "wait_for_lock", time(0.0, 0.0, 0.2, 251.0), memory(0, 0, 0, 0, 0, 0.0)),
        line(41, "report", time(201.0, 22.0, 61.0, 4.0), memory(3_119, 3_119, 0, 0, 619, 0.11)),
        line(46, "main", time(0.6, 0.1, 0.0, 0.0), memory(3, 3, 0, 0, 0, 1.4)),
    ];
    lines[7].native = vec![
        NativeSymbol { object: "libopenblas64_.so".into(), symbol: Some("dgemm_kernel_HASWELL".into()), s: 1.02 },
        NativeSymbol { object: "libc.so.6".into(), symbol: None, s: 0.11 },
    ];
    lines[7].by_thread = vec![ThreadShare { thread: 0, time: lines[7].time, alloc_bytes: Some(4096) }];
    lines[7].by_process = vec![ProcessShare { process: 0, time: lines[7].time, memory: lines[7].memory }];
    lines[3].native =
        vec![NativeSymbol { object: "_json.so".into(), symbol: Some("scan_once_unicode".into()), s: 0.199 }];
    let sum = |of: fn(&Line) -> Option<f64>| Some(lines.iter().filter_map(of).sum::<f64>());
    let totals_time = Time {
        python_s: sum(|line| line.time.python_s),
        native_s: sum(|line| line.time.native_s),
        system_s: sum(|line| line.time.system_s),
        wait_s: sum(|line| line.time.wait_s),
        ..Time::default()
    };
    let rss = (0..320_u64).map(|i| {
        let at = i as f64 / 100.0;
        let ramp = if i < 100 { 20 + i } else { 120 };
        let wave = if i > 120 && i < 290 { (i * 37) % 250 } else { 0 };
        (at, (ramp + wave + if i == 197 { 42 } else { 0 }) << 20)
    });
    Profile {
        tool: Tool { version: "0.1.0".into() },
        target: Target {
            command: ["python", "orders.py", "orders.json", "40"].map(str::to_owned).to_vec(),
            cwd: "/srv/shop".into(),
            python: Some("3.12.1".into()),
            platform: "linux-x86_64".into(),
            pid: 4211,
            exit: Exit { code: Some(0), signal: None },
            allocator: Some("jemalloc".to_owned()),
            attached: None,
            ..Target::default()
        },
        clock: Clock { started_at: "2026-01-01T00:00:00Z".into(), elapsed_s: 3.21, program_s: None },
        settings: Settings {
            cpu: CpuSettings { source: "perf".into(), interval_s: 0.001 },
            memory: MemorySettings { mode: "sampled".into(), interval_bytes: Some(65_536) },
            scope: ScopeSettings::default(),
        },
        totals: Totals {
            time: totals_time,
            memory: memory(2_012_113, 1_990_011, 19_700, 409_600, 22_531, 0.003),
            peak_rss_bytes: Some(412 << 20),
            cpu_samples: 2_930,
            alloc_samples: 12_311,
            lost_records: 0,
            cpu_clock_s: Some(2.96),
            sampled_cpu_s: Some(2.93),
            unsampled_s: Some(0.017),
            outside_scope: time(11.0, 4.0, 2.0, 0.0),
            outside_scope_memory: memory(31_099, 29_001, 9, 4_099, 0, 0.02),
            footprint_peak_bytes: Some(412 << 20),
            footprint_peak_at_s: Some(1.5),
            tracked_peak_bytes: Some(398 << 20),
            untouched_peak_bytes: Some(0),
            most_allocated_bytes: Some(398 << 20),
            mapped_files_peak_bytes: Some(9 << 20),
            resident_files_peak_bytes: Some(21 << 20),
            arenas_peak_bytes: Some(3 << 20),
        },
        files: vec![File {
            path: "/srv/shop/orders.py".into(),
            lines,
            functions: vec![
                function("load", 12, 15, time(3.0, 215.0, 42.0, 19.0), 0.26, 69_654),
                function("normalise", 18, 21, time(520.0, 40.0, 2.0, 0.0), 0.562, 31_737),
                function("simulate", 24, 31, time(24.0, 1_621.0, 95.0, 0.0), 1.74, 1_855_531),
                function("report", 38, 42, time(201.0, 22.0, 61.0, 4.0), 0.284, 3_119),
                function("main", 45, 48, time(0.6, 0.1, 0.0, 0.0), 2.847, 1_960_044),
            ],
            text_sha256: Some("5f".repeat(32)),
        }],
        timeline: Timeline {
            rss: rss.collect(),
            live: vec![(0.0, 0), (3.2, 19_700 << 10)],
            lines: vec![LineCourse { file: 0, line: 3, live: vec![(0.1, 1 << 20), (2.0, 12 << 20)] }],
        },
        threads: vec![
            Thread { pid: 4211, tid: 4211, name: "MainThread".into(), time: totals_time, cpu_clock_s: Some(2.91) },
            Thread {
                pid: 4211,
                tid: 4215,
                name: "metrics".into(),
                time: time(9.0, 2.0, 1.0, 3_100.0),
                cpu_clock_s: Some(0.05),
            },
        ],
        processes: vec![Process {
            pid: 4211,
            parent: 1,
            command: ["python", "orders.py"].map(str::to_owned).to_vec(),
            exit: Exit { code: Some(0), signal: None },
            peak_rss_bytes: Some(412 << 20),
            time: totals_time,
            memory: memory(2_012_113, 1_990_011, 19_700, 409_600, 22_531, 0.003),
            ..Process::default()
        }],
        stacks: stacks(),
        sections: vec![Section {
            name: "load".into(),
            pid: 4211,
            count: 3,
            start_s: 0.5,
            end_s: 2.5,
            elapsed_s: 1.25,
            cpu_s: Some(0.75),
            alloc_bytes: Some(48 << 20),
            increment_bytes: Some(16 << 20),
            lines: vec![SectionLine { file: 0, line: 30, cpu_s: Some(0.5), alloc_bytes: Some(12_289 << 10) }],
        }],
        labels: vec![Label {
            labels: [("route".to_owned(), "/orders/<id>".to_owned())].into(),
            count: 12,
            elapsed_s: 1.5,
            median_s: Some(0.1),
            p95_s: Some(0.25),
            longest_s: Some(0.3),
            cpu_s: Some(0.75),
            alloc_bytes: Some(48 << 20),
            kept_bytes: Some(16 << 20),
            lines: vec![SectionLine { file: 0, line: 30, cpu_s: Some(0.5), alloc_bytes: Some(12_289 << 10) }],
        }],
        leaks: Some(vec![Leak {
            file: 0,
            line: 30,
            live_bytes: 12_289 << 10,
            bytes_per_s: 6_442_450.9,
            confidence: 0.993,
        }]),
        near_limits: vec![NearLimit {
            limit: "cgroup".to_owned(),
            at_s: 1.5,
            process: 0,
            used_bytes: 500 << 20,
            limit_bytes: 512 << 20,
            lines: vec![HeldBytes { file: 0, line: 28, live_bytes: 400 << 20 }],
        }],
        notices: Vec::new(),
        ..Profile::default()
    }
}

/// `<module>` calls `main`, which calls `simulate` (which calls itself once), which calls into a file out of scope.
fn stacks() -> Stacks {
    let frame = |file, function: &str, line| StackFrame { file, function: function.into(), line };
    let node = |parent, frame, cpu_s: f64| StackNode {
        parent,
        frame,
        cpu_s,
        wall_s: cpu_s * 1.5,
        alloc_bytes: 4096,
        peak_bytes: 2048,
        cpu_samples: 1 + (cpu_s * 1000.0) as u64,
        python_s: cpu_s * 0.5,
        native_s: cpu_s * 0.25,
        system_s: cpu_s * 0.25,
        alloc_count: 4,
        live_bytes: 1024,
    };
    Stacks {
        frames: vec![
            frame(0, "<module>", 52),
            frame(0, "main", 48),
            frame(0, "simulate", 28),
            frame(0, "simulate", 29),
            frame(1, "Random;State.draw", 7),
        ],
        nodes: vec![
            node(None, 0, 0.0),
            node(Some(0), 1, 0.25),
            node(Some(1), 2, 1.0),
            node(Some(2), 3, 0.5),
            node(Some(3), 4, 0.125),
            node(Some(1), 3, 0.0625),
        ],
        other_files: vec!["/usr/lib/python3/random.py".into()],
        by_thread: vec![ThreadStack { node: 2, thread: 1, cpu_s: 1.0, wall_s: 1.5, alloc_bytes: 4096 }],
        by_process: vec![ProcessStack {
            node: 2,
            cpu_s: 1.0,
            alloc_bytes: 4096,
            peak_bytes: 2048,
            ..Default::default()
        }],
    }
}

/// [`realistic`] where memory was not profiled.
pub(crate) fn cpu_only() -> Profile {
    let mut profile = realistic();
    profile.settings.memory = MemorySettings { mode: "off".into(), interval_bytes: None };
    profile.totals.memory = Memory::default();
    profile.totals.outside_scope_memory = Memory::default();
    profile.totals.tracked_peak_bytes = None;
    profile.totals.mapped_files_peak_bytes = None;
    profile.totals.arenas_peak_bytes = None;
    profile.processes[0].memory = Memory::default();
    profile.totals.alloc_samples = 0;
    profile.leaks = None;
    profile.timeline.live.clear();
    for line in &mut profile.files[0].lines {
        line.memory = Memory::default();
        line.by_process.clear();
    }
    for function in &mut profile.files[0].functions {
        function.cumulative.alloc_bytes = None;
    }
    profile
}

/// Text that would act on a terminal, is wide, endless, empty or right-to-left.
pub(crate) const HOSTILE: [&str; 10] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}[31mred",
    "price = 1  # \u{202e}decaf\u{2066} hidden",
    "合計 = 価格 * 数量  # 日本語の長い注釈がここに続くので切らなければならない、まだまだ続く",
    "총합 += 수량  # 합계",
    "emoji = '👩\u{200d}🚀⚠\u{fe0f}🇰🇷'",
    "\t\tdeep\ttabs\there",
    "\u{9b}2J\u{90}\u{feff}\u{ad}",
    "",
    "مجموع = 5",
    "e\u{301}\u{301}\u{301}\u{301}",
];

/// Twelve files of 300 lines, hostile texts everywhere, figures from nothing to absurd.
pub(crate) fn adversarial() -> Profile {
    adversarial_of(12, 300)
}

/// [`adversarial`] of another size.
pub(crate) fn adversarial_of(files: u32, lines: u32) -> Profile {
    let mut profile = realistic();
    profile.target.command = HOSTILE.map(str::to_owned).to_vec();
    profile.notices = HOSTILE.map(|text| Notice::of_process(7, text, text)).to_vec();
    profile.totals.lost_records = u64::MAX;
    profile.settings.cpu.source = HOSTILE[0].into();
    profile.files = (0..files)
        .map(|file| File {
            path: format!("/srv/shop/{}/{file}.py", HOSTILE[file as usize % HOSTILE.len()]),
            lines: (1..=lines).map(|number| hostile_line(file, number)).collect(),
            functions: vec![Function {
                name: HOSTILE[file as usize % HOSTILE.len()].into(),
                qualname: format!("{}.<locals>.{}", HOSTILE[0], HOSTILE[2]),
                own: time(1e12, 1.0, 1.0, 1.0),
                ..Function::default()
            }],
            text_sha256: None,
        })
        .collect();
    profile.threads[1].name = HOSTILE[0].into();
    profile.stacks = Stacks::default();
    profile
}

fn hostile_line(file: u32, number: u32) -> Line {
    let n = f64::from(number);
    let kib = u64::from(number) * 977;
    let text = HOSTILE[number as usize % HOSTILE.len()];
    let source = if number.is_multiple_of(97) { text.repeat(5000) } else { text.to_owned() };
    let wild = match (file, number) {
        (0, 1) => memory(u64::MAX >> 11, 0, u64::MAX >> 11, u64::MAX >> 11, 1, 1e280),
        _ => memory(kib, kib / 2, kib / 3, kib / 4, kib, 0.05),
    };
    let time =
        if (file, number) == (0, 2) { time(1e300, 1e-300, 0.0, 1e300) } else { time(n, n / 3.0, n / 7.0, n / 2.0) };
    Line {
        line: number,
        function: text.to_owned(),
        source: Some(source),
        time,
        cpu_samples: u64::from(number),
        memory: wild,
        native: vec![NativeSymbol { object: text.into(), symbol: Some(text.into()), s: n }],
        ..Line::default()
    }
}

/// The same program, whose queries were counted.
pub(crate) fn asking() -> Profile {
    let mut profile = realistic();
    let (first, second) = (profile.files[0].lines[0].line, profile.files[0].lines[1].line);
    for (at, count, mark) in [(0, 120, Some("N+1")), (1, 1, None)] {
        let line = &mut profile.files[0].lines[at];
        (line.sql_count, line.sql_s, line.sql_rows) = (Some(count), Some(0.0125), Some(240));
        (line.sql_mark, line.sql_build_s) = (mark.map(str::to_owned), Some(0.25));
    }
    let statement = |line, text: &str, count| SqlStatement {
        file: Some(0),
        line: Some(line),
        statement: text.to_owned(),
        count,
        time_s: 0.0125,
        longest_s: 0.001,
        rows: Some(240),
        ..SqlStatement::default()
    };
    let lookup = SqlStatement {
        mark: Some(Sql::N_PLUS_ONE.to_owned()),
        advice: Some("ask once: a JOIN, or WHERE ... IN (...)".to_owned()),
        cause: Some(SqlCause { file: 0, line: second, rows: 120 }),
        ..statement(first, "select name | kind from author where id = ?", 120)
    };
    let commit = SqlStatement { file: None, line: None, transaction: true, rows: None, ..statement(0, "COMMIT", 7) };
    let statements = vec![lookup, statement(second, "select id from <book>", 1), commit];
    profile.sql = Some(Sql { count: 121, time_s: 0.025, rows: Some(480), statements });
    profile
}
