"""What each profiler's output says of the lines of one file, in one shape: line number -> figures.

Figures: ``cpu`` (any unit, shares are compared), ``python``, ``native``, ``system`` (parts of it), ``allocated``,
``peak`` (bytes). A figure that the profiler does not report is absent.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

Lines = dict[int, dict[str, float]]

MIB = 1024 * 1024


def rscalene(binary: Path, out: Path, program: str) -> Lines:
    """Return what our JSON says."""
    profile = json.loads(out.with_name(out.name + ".json").read_text())
    lines: Lines = {}
    for file in profile["files"]:
        if file["path"] != program:
            continue
        for row in file["lines"]:
            kinds = {kind: row[f"{kind}_s"] or 0.0 for kind in ("python", "native", "system")}
            lines[row["line"]] = {"cpu": sum(kinds.values()), **kinds}
            if row.get("alloc_bytes") is not None:
                lines[row["line"]] |= {"allocated": row["alloc_bytes"], "peak": row["peak_bytes"]}
    return lines


def scalene(binary: Path, out: Path, program: str) -> Lines:
    """Return what scalene's JSON says. Its C share includes what it calls system time."""
    profile = json.loads(out.with_name(out.name + ".json").read_text())
    lines: Lines = {}
    for row in profile["files"].get(program, {}).get("lines", []):
        python, native, system = row["n_cpu_percent_python"], row["n_cpu_percent_c"], row["n_sys_percent"]
        if cpu := python + native + system:
            lines[row["lineno"]] = {"cpu": cpu, "python": python, "native": native, "system": system}
        if row["n_malloc_mb"] or row["n_peak_mb"]:
            memory = {"allocated": row["n_malloc_mb"] * MIB, "peak": row["n_peak_mb"] * MIB}
            lines[row["lineno"]] = lines.get(row["lineno"], {}) | memory
    return lines


MEMRAY = """
import collections, json, sys, memray
lines = collections.Counter()
for record in memray.FileReader(sys.argv[1]).get_high_watermark_allocation_records(merge_threads=True):
    for function, file, line in record.stack_trace():
        if file == sys.argv[2]:
            lines[line] += record.size
            break
print(json.dumps(lines))
"""


def memray(binary: Path, out: Path, program: str) -> Lines:
    """Return memory at the high-water mark, by memray's own reader."""
    words = [binary / "python", "-c", MEMRAY, out, program]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {int(line): {"peak": float(size)} for line, size in json.loads(told).items()}


def fil(binary: Path, out: Path, program: str) -> Lines:
    """Return memory at the peak, from the folded stacks beside fil's page."""
    found = sorted(out.glob("*/peak-memory.prof"))
    if not found:
        return {}
    name = re.escape(Path(program).name)
    return _folded(found[-1].read_text(), re.compile(rf"{name}:(\d+)"), "peak")


def py_spy(binary: Path, out: Path, program: str) -> Lines:
    """Return samples by line, from raw stacks."""
    name = re.escape(Path(program).name)
    return _folded(out.read_text(), re.compile(rf"\({name}:(\d+)\)|\([^;()]*/{name}:(\d+)\)"), "cpu")


def sampling(binary: Path, out: Path, program: str) -> Lines:
    """Return samples by line, from the collapsed stacks of the standard library's profiler."""
    name = re.escape(Path(program).name)
    return _folded(out.read_text(), re.compile(rf"{name}:[^;:]*:(\d+)"), "cpu")


def _folded(text: str, pattern: re.Pattern[str], key: str) -> Lines:
    """Give each stack's number to its innermost frame in the program."""
    lines: dict[int, float] = defaultdict(float)
    for row in text.splitlines():
        stack, _, number = row.rpartition(" ")
        for frame in reversed(stack.split(";")):
            if match := pattern.search(frame):
                lines[int(next(filter(None, match.groups())))] += float(number)
                break
    return {line: {key: value} for line, value in lines.items()}


READERS: dict[str, Callable[[Path, Path, str], Lines]] = {
    "rscalene": rscalene,
    "scalene": scalene,
    "memray": memray,
    "filprofiler": fil,
    "py-spy": py_spy,
    "": sampling,
}
"""By package; the contenders that report lines."""
