"""What a profiler costs the program: whole programs, plain and under every profiler, in pairs.

The workloads are pyperformance's mdp, raytrace, fannkuch, docutils, pprint, sympy and async_tree, and small programs
that are bound by one thing each. In every round each contender runs once, right after a plain run; the figure is the
ratio of the two. A run is ended after half a minute, and what it took until then is a lower bound. With ``--together``
the two run at once and share one core, in turns of milliseconds: whatever slows the machine meets both alike, so that
small costs can be told from noise. Of a run there are four figures: CPU seconds and wall seconds of the workload's own
loops (by the program's own clocks), CPU seconds of everything that was started (the profiler's processes too), and the
largest process' peak RSS.

    python benches/overhead.py [--rounds N] [--together] [--shorter N] [--only WORKLOAD ...] [--contender NAME ...]
        [--python EXE] [-o FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import contenders
from contenders import CONTENDERS, PLAIN, WORKLOADS, Contender, Missing

PYPERFORMANCE = "pyperformance/data-files/benchmarks"
TIMEOUT_S = 30
"""A run that takes longer is ended."""


@dataclass(frozen=True)
class Workload:
    """A program: its file below pyperformance's benchmarks (or ours), its arguments, and how often it loops."""

    name: str
    file: str
    words: tuple[str, ...] = ()
    loops: int = 1

    def path(self) -> Path:
        """Return the program's file."""
        if self.file.startswith("bm_"):
            return contenders.unpacked("pyperformance") / PYPERFORMANCE / self.file
        return WORKLOADS / self.file


def _micro(name: str, loops: int = 1) -> Workload:
    return Workload(name, "micro.py", (name,), loops)


def _tree(kind: str) -> Workload:
    return Workload(f"async_tree {kind}", "bm_async_tree/run_benchmark.py", (kind,), 2)


NOTHING = _micro("nothing")
PROGRAMS = [
    Workload("mdp", "bm_mdp/run_benchmark.py"),
    Workload("raytrace", "bm_raytrace/run_benchmark.py", (), 5),
    Workload("fannkuch", "bm_fannkuch/run_benchmark.py", (), 4),
    Workload("docutils", "bm_docutils/run_benchmark.py"),
    Workload("pprint", "bm_pprint/run_benchmark.py"),
    Workload("sympy", "bm_sympy/run_benchmark.py", (), 3),
    *map(_tree, ("none", "io", "memoization", "cpu_io_mixed")),
]
SMALL = [
    _micro("recursion", 6),
    _micro("containers", 12),
    _micro("comprehensions", 2),
    _micro("buffers", 8),
    _micro("documents", 3),
    _micro("matches", 6),
    NOTHING,
]


@dataclass
class Run:
    """One run: seconds, bytes; the workload's own clocks are ``None`` where it did not come to its end.

    ``ended``: it took too long, so that the other figures are those of a part.
    """

    cpu_s: float | None
    wall_s: float | None
    tree_cpu_s: float
    tree_wall_s: float
    peak_rss_bytes: int
    written_bytes: int
    ended: bool = False


@dataclass
class Started:
    """A run that is under way."""

    name: str
    child: subprocess.Popen[bytes]
    alarm: threading.Timer
    folder: tempfile.TemporaryDirectory[str]
    began: float


def start(contender: Contender, binary: Path, workload: Workload, core: int | None = None) -> Started:
    """Start the workload under the contender, its own work on one core alone if one is named."""
    folder = tempfile.TemporaryDirectory()
    clocks, out = Path(folder.name, "clocks"), Path(folder.name, "written", "profile")
    out.parent.mkdir()
    environ = {
        **os.environ,
        "PATH": f"{binary}:{os.environ['PATH']}",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(WORKLOADS),
        "RSCALENE_BENCH_CLOCKS": str(clocks),
        "RSCALENE_BENCH_LOOPS": str(workload.loops),
        **({"RSCALENE_BENCH_CORE": str(core)} if core is not None else {}),
    }
    began = time.perf_counter()
    with Path(folder.name, "errors").open("wb") as errors:
        child = subprocess.Popen(
            contender.command(binary, out, [str(workload.path()), *workload.words]),
            env=environ,
            cwd=out.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    alarm = threading.Timer(TIMEOUT_S, os.killpg, (child.pid, signal.SIGKILL))
    alarm.start()
    return Started(f"{contender.name} on {workload.name}", child, alarm, folder, began)


def finish(started: Started) -> Run:
    """Wait for a run's end and return its figures."""
    _, status, usage = os.wait4(started.child.pid, 0)
    wall = time.perf_counter() - started.began
    ended = wall >= TIMEOUT_S
    started.alarm.cancel()
    started.child.returncode = os.waitstatus_to_exitcode(status)
    with started.folder as folder:
        clocks, written = Path(folder, "clocks"), Path(folder, "written")
        told = [json.loads(row) for row in clocks.read_text().splitlines()] if clocks.exists() else []
        if ended:
            print(f"    {started.name}: ended after {TIMEOUT_S} s", file=sys.stderr)
        elif not told or started.child.returncode != 0:
            errors = Path(folder, "errors").read_text(errors="replace")[-300:]
            print(f"    {started.name}: status {started.child.returncode}: {errors}", file=sys.stderr)
        return Run(
            cpu_s=sum(one["cpu_s"] for one in told) if told else None,
            wall_s=sum(one["wall_s"] for one in told) if told else None,
            tree_cpu_s=usage.ru_utime + usage.ru_stime,
            tree_wall_s=wall,
            peak_rss_bytes=usage.ru_maxrss * 1024,
            written_bytes=sum(path.stat().st_size for path in written.rglob("*") if path.is_file()),
            ended=ended,
        )


def pair(contender: Contender, binaries: dict[str, Path], workload: Workload, together: bool) -> tuple[Run, Run]:
    """Run the workload plain and under the contender: one after the other, or both at once on one core."""
    plain, profiled = (PLAIN, binaries[PLAIN.name], workload), (contender, binaries[contender.name], workload)
    if not together:
        return finish(start(*plain)), finish(start(*profiled))
    core = max(os.sched_getaffinity(0))
    running = [start(*profiled, core), start(*plain, core)]
    after, before = map(finish, running)
    return before, after


def ratios(pairs: Sequence[tuple[Run, Run]], together: bool) -> dict[str, Any]:
    """Return the figures of a contender on a workload from its (plain, profiled) pairs of runs.

    Those that ran at once have no wall time of their own. Where a profiled run was ended there is but ``above``: a
    ratio that it exceeds.
    """
    figures: dict[str, Any] = {"pairs": len(pairs)}
    if any(profiled.ended for _, profiled in pairs):
        figures["above"] = min(profiled.tree_cpu_s / plain.tree_cpu_s for plain, profiled in pairs if profiled.ended)
        return figures
    walls = () if together else ("wall_s", "tree_wall_s")
    for key in ("cpu_s", "tree_cpu_s", "peak_rss_bytes", *walls):
        found = [b / a for plain, profiled in pairs if (a := getattr(plain, key)) and (b := getattr(profiled, key))]
        if found:
            figures[key.removesuffix("_s").removesuffix("_bytes") + "_ratio"] = {
                "median": statistics.median(found),
                "least": min(found),
                "most": max(found),
            }
    if not together:
        added = [profiled.tree_wall_s - plain.tree_wall_s for plain, profiled in pairs]
        figures["added_wall_s"] = statistics.median(added)
    figures["written_bytes"] = statistics.median(profiled.written_bytes for _, profiled in pairs)
    return figures


def measure(
    python: str,
    programs: Sequence[Workload],
    chosen: Sequence[Contender],
    rounds: int,
    output: Path | None,
    kind: str,
    together: bool = False,
    note: str = "",
) -> dict[str, str]:
    """Run everything; after each workload, write what is known as the document that ``page.py`` renders.

    Returns the contenders that are missing, and why.
    """
    binaries: dict[str, Path] = {}
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for contender in [PLAIN, *chosen]:
        try:
            binaries[contender.name] = contenders.environment(contender, python)
            versions[contender.name] = contenders.version(contender, binaries[contender.name])
        except Missing as why:
            missing[contender.name] = str(why)
    results: dict[str, dict[str, Any]] = {}
    present = [one for one in chosen if one.name not in missing]
    for contender in present:
        # Fills the caches of the profilers; those of a workload are filled by a run of its own.
        finish(start(contender, binaries[contender.name], NOTHING))
    for workload in programs:
        finish(start(PLAIN, binaries[PLAIN.name], workload))
        pairs: dict[str, list[tuple[Run, Run]]] = {one.name: [] for one in present}
        for _ in range(rounds):
            for contender in present:
                # What took too long once takes too long again.
                if not any(profiled.ended for _, profiled in pairs[contender.name]):
                    pairs[contender.name].append(pair(contender, binaries, workload, together))
        results[workload.name] = {name: ratios(found, together) for name, found in pairs.items()}
        for name, figures in results[workload.name].items():
            if "above" in figures:
                print(f"{workload.name:<24} {name:<34} CPU above x{figures['above']:.0f}", flush=True)
                continue
            cpu = figures.get("cpu_ratio", {"median": float("nan"), "least": float("nan"), "most": float("nan")})
            print(
                f"{workload.name:<24} {name:<34} CPU x{cpu['median']:.3f} ({cpu['least']:.3f} to {cpu['most']:.3f})"
                f"  all CPU x{figures['tree_cpu_ratio']['median']:.3f}  RSS x{figures['peak_rss_ratio']['median']:.2f}"
                f"  wrote {figures['written_bytes'] / 1024:,.0f} KiB",
                flush=True,
            )
        if output:
            document = {
                "measured": kind,
                "machine": contenders.machine(),
                "python": versions[PLAIN.name],
                "versions": versions,
                "missing": missing,
                "rounds": rounds,
                "together": together,
                "results": results,
                **({"note": note} if note else {}),
            }
            contenders.write(output, document)
    return missing


def main() -> None:
    """Measure, print, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs of each (5)")
    parser.add_argument(
        "--shorter", type=int, default=1, help="loop programs so many times less often: for large costs (1)"
    )
    parser.add_argument("--only", nargs="+", help="these workloads alone")
    parser.add_argument("--contender", nargs="+", default=["ours", "others"], help="names, or `ours`, `others`")
    parser.add_argument("--together", action="store_true", help="run each pair at once, on one core: less noise")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    shortened = [replace(one, loops=max(1, one.loops // options.shorter)) for one in PROGRAMS]
    programs = [one for one in [*shortened, *SMALL] if not options.only or one.name in options.only]
    if options.together:
        # What does nothing has no work that could be shared.
        programs = [one for one in programs if one.name != "nothing"]
    group = {one.name: "ours" if one.package == "rscalene" else "others" for one in CONTENDERS}
    chosen = [one for one in CONTENDERS if {one.name, group[one.name]} & set(options.contender)]
    notes = []
    if options.shorter > 1:
        notes.append(
            f"The programs of pyperformance loop {options.shorter} times less often than in the other tables; a run"
            f" that was not done after {TIMEOUT_S} seconds was ended."
        )
    if options.rounds == 1 and not options.together:
        notes.append("Single pairs: two plain runs differ by some 10 %, now and then by 30 %.")
    rounds, together, note = options.rounds, options.together, " ".join(notes)
    missing = measure(options.python, programs, chosen, rounds, options.output, "overhead", together, note)
    for name, why in missing.items():
        print(f"missing: {name}: {why}")


if __name__ == "__main__":
    main()
