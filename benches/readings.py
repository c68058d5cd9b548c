"""What each profiler's output says of one file, in one shape: line number -> figures, and function -> CPU.

Figures of a line: ``cpu`` (any unit, shares are compared), ``python``, ``native``, ``system`` (parts of it),
``allocated``, ``peak``, ``kept``, ``copied`` (bytes). A figure that the profiler does not report is absent.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

Lines = dict[int, dict[str, float]]
Functions = dict[str, float]

MIB = 1024 * 1024

# Trees of calls are as deep as the program that made them.
sys.setrecursionlimit(100_000)


def rscalene(binary: Path, out: Path, program: str) -> Lines:
    """Return what our JSON says."""
    lines: Lines = {}
    for file in _document(out)["files"]:
        if file["path"] != program:
            continue
        for row in file["lines"]:
            kinds = {kind: row[f"{kind}_s"] or 0.0 for kind in ("python", "native", "system")}
            memory = {"allocated": "alloc_bytes", "peak": "peak_bytes", "kept": "live_bytes", "copied": "copy_bytes"}
            told = {name: row[key] for name, key in memory.items() if row.get(key) is not None}
            lines[row["line"]] = {"cpu": sum(kinds.values()), **kinds, **told}
    return lines


def scalene(binary: Path, out: Path, program: str) -> Lines:
    """Return what scalene's JSON says. Its C share includes what it calls system time."""
    profile = _document(out)
    lines: Lines = {}
    for row in profile["files"].get(program, {}).get("lines", []):
        figures: dict[str, float] = {}
        python, native, system = row["n_cpu_percent_python"], row["n_cpu_percent_c"], row["n_sys_percent"]
        if cpu := python + native + system:
            figures |= {"cpu": cpu, "python": python, "native": native, "system": system}
        if row["n_malloc_mb"] or row["n_peak_mb"]:
            figures |= {"allocated": row["n_malloc_mb"] * MIB, "peak": row["n_peak_mb"] * MIB}
        if row["n_copy_mb_s"]:
            figures["copied"] = row["n_copy_mb_s"] * MIB * profile["elapsed_time_sec"]
        if figures:
            lines[row["lineno"]] = figures
    return lines


MEMRAY = """
import collections, json, sys, memray
peak, kept = collections.Counter(), collections.Counter()
reader = memray.FileReader(sys.argv[1])
for lines, records in (
    (peak, reader.get_high_watermark_allocation_records(merge_threads=True)),
    (kept, reader.get_leaked_allocation_records(merge_threads=True)),
):
    for record in records:
        for function, file, line in record.stack_trace():
            if file == sys.argv[2]:
                lines[line] += record.size
                break
print(json.dumps([peak, kept]))
"""


def memray(binary: Path, out: Path, program: str) -> Lines:
    """Return memory at the high-water mark and at the end, by memray's own reader."""
    words = [binary / "python", "-c", MEMRAY, out, program]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    lines: Lines = defaultdict(dict)
    for key, found in zip(("peak", "kept"), json.loads(told), strict=True):
        for line, size in found.items():
            lines[int(line)][key] = float(size)
    return lines


def fil(binary: Path, out: Path, program: str) -> Lines:
    """Return memory at the peak, from the folded stacks beside fil's page."""
    found = sorted(out.glob("*/peak-memory.prof"))
    if not found:
        return {}
    name = re.escape(Path(program).name)
    return _folded(found[-1].read_text(), re.compile(rf"{name}:(\d+)"), "peak")


def memory_profiler(binary: Path, out: Path, program: str) -> Lines:
    """Return increments by line (what is kept, by its definition), from the report."""
    row = re.compile(r"^ +(\d+) +-?[\d.]+ MiB +(-?[\d.]+) MiB ")
    found = filter(None, map(row.match, out.read_text().splitlines()))
    return {int(match[1]): {"kept": float(match[2]) * MIB} for match in found}


LINE_PROFILER = """
import json, sys
from line_profiler import load_stats
stats = load_stats(sys.argv[1])
found = [(function, rows) for (file, _, function), rows in stats.timings.items() if file == sys.argv[2]]
lines = {line: ticks for _, rows in found for line, _, ticks in rows}
functions = {function: sum(ticks for _, _, ticks in rows) for function, rows in found}
print(json.dumps([lines, functions]))
"""


def _line_profiler(binary: Path, out: Path, program: str) -> tuple[dict[str, float], Functions]:
    words = [binary / "python", "-c", LINE_PROFILER, out, program]
    lines, functions = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return lines, functions


def line_profiler(binary: Path, out: Path, program: str) -> Lines:
    """Return wall time by line, by line_profiler's own reader."""
    return {int(line): {"cpu": float(ticks)} for line, ticks in _line_profiler(binary, out, program)[0].items()}


PY_SPY = r"\((?:[^;()]*/)?{name}:(\d+)\)"
SAMPLING = r"{name}:[^;:]*:(\d+)"


def py_spy(binary: Path, out: Path, program: str) -> Lines:
    """Return samples by line, from raw stacks."""
    return _folded(out.read_text(), re.compile(PY_SPY.format(name=re.escape(Path(program).name))), "cpu")


def sampling(binary: Path, out: Path, program: str) -> Lines:
    """Return samples by line, from the collapsed stacks of the standard library's profiler."""
    return _folded(_of_all_processes(out), re.compile(SAMPLING.format(name=re.escape(Path(program).name))), "cpu")


def _document(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.with_name(out.name + ".json").read_text())
    return found


def _of_all_processes(out: Path) -> str:
    """Return the folded stacks of a file and of those beside it that carry the number of a child."""
    return "".join(file.read_text() for file in [out, *sorted(out.parent.glob(f"{out.name}_*"))])


def _stacks(text: str) -> list[tuple[list[str], float]]:
    """Return the stacks of a folded file, outermost frame first, with their numbers."""
    rows = (row.rpartition(" ") for row in text.splitlines())
    return [(stack.split(";"), float(number)) for stack, _, number in rows]


def _folded(text: str, pattern: re.Pattern[str], key: str) -> Lines:
    """Give each stack's number to its innermost frame in the program."""
    lines: dict[int, float] = defaultdict(float)
    for stack, number in _stacks(text):
        if match := next(filter(None, map(pattern.search, reversed(stack))), None):
            lines[int(match[1])] += number
    return {line: {key: value} for line, value in lines.items()}


def functions_of_rscalene(binary: Path, out: Path, program: str) -> Functions:
    """Return cumulative CPU by function from our JSON."""
    files = [file for file in _document(out)["files"] if file["path"] == program]
    return {row["qualname"]: row["cumulative"]["cpu_s"] for file in files for row in file["functions"]}


def functions_of_scalene(binary: Path, out: Path, program: str) -> Functions:
    """Return CPU by function from scalene's JSON; what is called there counts with the caller (``piece``: `called`)."""
    found: Functions = defaultdict(float)
    for row in _document(out)["files"].get(program, {}).get("functions", []):
        cpu = row["n_cpu_percent_python"] + row["n_cpu_percent_c"] + row["n_sys_percent"]
        found["called" if row["line"] == "piece" else row["line"]] += cpu
    return found


def functions_of_line_profiler(binary: Path, out: Path, program: str) -> Functions:
    """Return wall time by function, callees' time in it."""
    return _line_profiler(binary, out, program)[1]


def functions_of_stacks(binary: Path, out: Path, program: str) -> Functions:
    """Return samples by function, callees' in it, from folded stacks of py-spy or the standard library's profiler."""
    found: Functions = defaultdict(float)
    for stack, number in _stacks(_of_all_processes(out)):
        for name in {name for frame in stack for name in re.findall(r"\w+", frame)}:
            found[name] += number
    return found


PSTATS = """
import json, pstats, sys
stats = pstats.Stats(sys.argv[1]).stats
print(json.dumps({name: row[3] for (file, _, name), row in stats.items() if file == sys.argv[2]}))
"""


def functions_of_cprofile(binary: Path, out: Path, program: str) -> Functions:
    """Return cumulative time by function from what cProfile wrote."""
    words = [binary / "python", "-c", PSTATS, out, program]
    found: Functions = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return found


def functions_of_pyinstrument(binary: Path, out: Path, program: str) -> Functions:
    """Return wall time by function from pyinstrument's JSON: of each name, the outermost frames."""
    found: Functions = defaultdict(float)

    def visit(frame: dict[str, Any], above: frozenset[str]) -> None:
        name = frame["function"]
        if name not in above:
            found[name] += frame["time"]
        for child in frame["children"]:
            visit(child, above | {name})

    visit(json.loads(out.read_text())["root_frame"], frozenset())
    return found


LINES: dict[str, Callable[[Path, Path, str], Lines]] = {
    "rscalene": rscalene,
    "scalene": scalene,
    "memray": memray,
    "fil": fil,
    "py-spy": py_spy,
    "line_profiler": line_profiler,
    "memory_profiler": memory_profiler,
    "profiling.sampling": sampling,
}
"""Readers of lines, by the first word of a contender's name."""

FUNCTIONS: dict[str, Callable[[Path, Path, str], Functions]] = {
    "rscalene": functions_of_rscalene,
    "scalene": functions_of_scalene,
    "py-spy": functions_of_stacks,
    "profiling.sampling": functions_of_stacks,
    "line_profiler": functions_of_line_profiler,
    "cProfile": functions_of_cprofile,
    "pyinstrument": functions_of_pyinstrument,
}
"""Readers of functions, by the same."""
