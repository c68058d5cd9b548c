"""Write docs/performance.md and docs/accuracy.md from the figures in benches/results.

python benches/page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from contenders import ROOT

RESULTS = ROOT / "benches" / "results"
MIB = 1024 * 1024


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---'] + ['--:'] * (len(head) - 1))}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def spread(figure: dict[str, float] | None) -> str:
    """Return a median with its least and most."""
    if figure is None:
        return "failed"
    if figure["least"] == figure["most"]:
        return f"{figure['median']:.2f}"
    return f"{figure['median']:.2f} ({figure['least']:.2f}-{figure['most']:.2f})"


def facts(found: dict[str, Any]) -> str:
    """Return what the figures depend on, in a paragraph."""
    machine = found["machine"]
    versions = ", ".join(
        f"{name} {version}" for name, version in sorted(found["versions"].items()) if name != "plain python"
    )
    place = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {machine['date']}"
    said = f"CPython {found['python']} on {place}. {versions}."
    missing = "; ".join(f"{name}: {why}" for name, why in found["missing"].items())
    notes = [f"\n\nMissing: {missing}."] if missing else []
    if note := found.get("note"):
        notes.append(f"\n\n{note}")
    return said + "".join(notes)


def overhead(found: dict[str, Any]) -> str:
    """Return the section of one run of overhead.py."""
    results = found["results"]
    names = [name for name in found["versions"] if name != "plain python"]

    def cell(figures: dict[str, Any] | None, key: str) -> str:
        if figures is None:
            return "-"
        if (above := figures.get("above")) is None:
            return spread(figures.get(key))
        # It waits for something that does not come, or works in a process that was ended with it.
        return f"> {above:.0f}" if above > 1 else "no end"

    how = "at once, sharing one core" if found.get("together") else "one after the other"
    title = f"### CPython {found['python']}, {found['rounds']} pairs of runs of each, {how}\n"
    parts = [title, facts(found)]
    for title, key in (
        ("CPU seconds of the program's own work, profiled / plain", "cpu_ratio"),
        ("Wall seconds of the program's own work, profiled / plain", "wall_ratio"),
        ("CPU seconds of everything that was started, profiled / plain", "tree_cpu_ratio"),
        ("Peak resident memory of the largest process, profiled / plain", "peak_rss_ratio"),
    ):
        if not any(key in figures for row in results.values() for figures in row.values()):
            continue
        rows = [
            [workload, *(cell(figures.get(name), key) for name in names)]
            for workload, figures in results.items()
            # What does nothing has no work of its own.
            if workload != "nothing" or key not in ("cpu_ratio", "wall_ratio")
        ]
        parts += [f"\n**{title}**: median (least-most)\n", table(["workload", *names], rows)]
    rows = [
        [
            workload,
            *(
                f"{size / MIB:.2f}" if (size := figures.get(name, {}).get("written_bytes")) is not None else "-"
                for name in names
            ),
        ]
        for workload, figures in results.items()
    ]
    parts += ["\n**Written, MiB**\n", table(["workload", *names], rows)]
    nothing = results.get("nothing", {})
    if any("added_wall_s" in figures for figures in nothing.values()):
        rows = [[name, f"{1000 * nothing[name]['added_wall_s']:.0f}"] for name in names if name in nothing]
        parts += [
            "\n**Start and end: wall milliseconds longer than plain, for a program that does nothing**\n",
            table(["", "ms"], rows),
        ]
    return "\n".join(parts)


def scale(found: dict[str, Any]) -> str:
    """Return the section of a run of scale.py."""
    names = [name for name in found["versions"] if name != "plain python"]
    rows = []
    for workload, figures in found["results"].items():
        what, size = workload.split(" ")
        rows.append([what, size, *(spread(figures[name].get("cpu_ratio")) for name in names)])
    head = ["what grows", "to", *names]
    return "\n".join([facts(found), "", table(head, rows)])


def lines(found: dict[str, Any]) -> str:
    """Return the section of a run of line_cost.py."""
    rows = [[name, f"{ns:,.0f}"] for name, ns in found["added_ns_per_line"].items()]
    return f"CPython {found['python']}.\n\n" + table(["", "added ns a line"], rows)


def accuracy(found: dict[str, Any]) -> str:
    """Return the section of a run of accuracy.py: a row for each law, a column for each profiler that is asked."""
    laws = list(dict.fromkeys(law for figures in found["results"].values() for law in figures))
    said = f"{found['runs']} runs; programs that run by the clock run {found['seconds']} CPU seconds."
    parts = [f"### CPython {found['python']}\n", facts(found), f"\n{said} Median / most of all figures and runs.\n"]
    for title, asked in (
        ("Time", [law for law in laws if "points" in law or "kind" in law]),
        ("Memory", [law for law in laws if "bytes" in law]),
    ):
        rows = [
            [name, *(error(figures, law) for law in asked)]
            for name, figures in found["results"].items()
            if any(law in figures for law in asked)
        ]
        if rows:
            parts += [f"**{title}**\n", table(["", *asked], rows)]
    return "\n".join(parts)


def error(figures: dict[str, Any], law: str) -> str:
    """Return a cell: the median error and the largest."""
    if law not in figures:
        return "-"
    return f"{figures[law]['median']:.2f} / {figures[law]['most']:.2f}" if figures[law] else "failed"


PERFORMANCE = """# What profiling costs

Every figure is a ratio to a plain run of the same program. The machine is a virtual one on a busy host: two runs of
the same program, one after the other, differ by some 10 %. So for small costs the plain run and the profiled one run
at once and share one core, in turns of milliseconds: whatever slows the machine meets both alike. Figures of other
profilers, whose costs are larger, and of start and end come from runs one after the other. Repeat them with `make
bench`, which takes long, or a part with `python benches/overhead.py --together --only mdp --contender rscalene`. What
cannot depend on the machine, the instructions that the hooks add to `malloc`, `free` and their kin, is held by `make
bench-quick`, a part of the tests.

Programs that do little but make and drop small objects cost the most, and more under builds that were optimised by
profile: those have the interpreter's allocator inlined wherever it is called, behind a look at whether it is still the
one in use, and whoever replaces it loses that. Measured for lists and dicts with Debian's CPython 3.14, seven pairs of
runs at once, medians: functions that do nothing but jump on to the interpreter's own cost 2.5 %; with those that count
bytes, the hooks of libc and samples of CPU time it is 5.7 %; with samples of memory 8.5 %. A call of ours that is no
sample is nine instructions, the last of them the jump on: no frame, no lock.

"""
ACCURACY = """# How far the figures are from the truth

The programs know their truth: lines of equal work, lines whose CPU clock the program reads itself, blocks of known
sizes. A line that a profiler does not report counts as an error of 100 %. Repeat it with `make accuracy`; the programs
lie in `tests/accuracy/programs`. What rscalene must reach is also held by the tests beside them, on every supported
CPython.

* *equal lines*: eight lines of equal work; error of each line's share, in percentage points.
* *unlike lines*: bytecode, builtins, C libraries and a system call; error of each line's share, in percentage points.
* *behind long system calls*: calls of about 5 ms, longer than a tick of most kernels, and bytecode right behind each;
  error of each line's share. A CPU timer's signal comes when the call ends, however early in it the timer fired.
* *time not in its kind*: how much of each such line's CPU time is not booked as Python, native or system as it is.
* *work behind calls*: equal work in two functions, in one of them behind a call; error of a function's share.
* *threads*, *processes*: a line in each of four threads (one sleeps), or in a process, a forked and a spawned child;
  error of each line's share of the CPU time of all.
* *allocated*, *at the peak*, *kept*: error of each line's bytes, allocated in all, alive at the process' peak, alive at
  the end. Two of the lines allocate small blocks in the shadow of large ones, which a sampling profiler estimates
  (rscalene prints its error). memory_profiler's increment is counted as what is kept; it sees resident memory, and most
  of these blocks are never touched.
* *copied*: error of the bytes that each line copies.

line_profiler, pyinstrument and cProfile tell wall time, not CPU time, and are held against the same clocks.
profiling.sampling is run with `--subprocesses`, and its files, one a process, are added up.

"""


def queries(found: dict[str, Any]) -> str:
    """Return the section on the cost of a query."""
    rows = []
    for case in found["cases"]:
        for name, cost in case["counters"].items():
            more = f"{cost['more_us'] * 1e3:.0f} ns" if case["unit"] == "row" else f"{cost['more_us']:.2f} us"
            plain = f"{case['plain_us'] * 1e3:.0f} ns" if case["unit"] == "row" else f"{case['plain_us']:.2f} us"
            rows.append(
                [
                    f"{case['case']}, a {case['unit']}".replace(", a row, a row", ", a row"),
                    name,
                    plain,
                    more,
                    f"{cost['ratio']:.2f}",
                ]
            )
    machine = found["machine"]
    return (
        f"CPython {machine['python']}, {machine['system']}. CPU of trivial queries, counted and plain in turns in one "
        f"process: medians of {found['pairs']} pairs. `python benches/sql_cost.py` repeats them.\n\n"
        + table(["case", "counted by", "plain", "more", "ratio"], rows)
    )


def main() -> None:
    """Write both pages."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"), key=lambda path: path.stem)]
    of = {
        kind: [one for one in found if one.get("measured") == kind]
        for kind in ("overhead", "scale", "lines", "sql", "accuracy")
    }
    sections = [PERFORMANCE.rstrip() + "\n"]
    for title, kind, render in (
        ("Whole programs", "overhead", overhead),
        ("How the cost grows", "scale", scale),
        ("`@profile`: the cost of a line", "lines", lines),
        ("`rscalene.queries()`: the cost of a query", "sql", queries),
    ):
        if of[kind]:
            sections += [f"## {title}\n", *(render(one) for one in of[kind])]
    (ROOT / "docs" / "performance.md").write_text("\n".join(sections))
    (ROOT / "docs" / "accuracy.md").write_text(
        "\n".join([ACCURACY.rstrip() + "\n", *(accuracy(one) for one in of["accuracy"])])
    )


if __name__ == "__main__":
    main()
