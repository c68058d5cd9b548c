"""How far each profiler's figures are from the truth, on programs that know it.

The programs are those of ``tests/accuracy/programs``: lines are marked ``# at: NAME``, the truth is what the
program's own clocks say or what its source says (bytes). Errors are in percentage points of the marked lines' CPU
time, in per cent of a line's true bytes; kinds are right by the share of the line's time that is given to the right
kind.

    python benches/accuracy.py [--runs N] [--seconds S] [--contender NAME ...] [--python EXE] [-o FILE]
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contenders
from contenders import CONTENDERS, ROOT, Contender, Missing
from readings import READERS, Lines

PROGRAMS = ROOT / "tests" / "accuracy" / "programs"
TIMEOUT_S = 120
EQUAL = tuple(f"s{number}" for number in range(1, 9))
SPENT = {
    "pure": ("python", "python"),
    "sorts": ("sorted", "native"),
    "sums": ("sum", "native"),
    "dumps": ("json", "native"),
    "compresses": ("zlib", "native"),
    "hashes": ("hashlib", "native"),
    "reads": ("urandom", "system"),
}
"""Clock of kinds.py -> its line's mark, its kind."""
ALLOCATED = {
    "pair900": 300 * 900_001,
    "pair200": 300 * 200_003,
    "churn": 400 * 1_048_573,
    "keeps20k": 400 * 20_011,
    "leaks": 25 * 1_048_549,
    "frees": 25 * 1_048_571,
    "thread": 100 * 901_775,
    "malloc": 3_000_017,
    "mremap": 12_582_912,
    "produces": 50 * 524_309,
}
PEAK = {
    "peak": 150_000_001,
    "leaks": 25 * 1_048_549,
    "thread": 100 * 901_775,
    "malloc": 3_000_017,
    "keeps20k": 400 * 20_011,
    "realloc": 8_000_009,
    "anonymous": 6_291_456,
}
"""Marks of blocks.py -> bytes."""


def marks(program: Path) -> dict[str, int]:
    """Return mark -> line number."""
    rows = enumerate(program.read_text().splitlines(), 1)
    return {match[1]: number for number, text in rows if (match := re.search(r"# at: (\w+)$", text))}


def profile(contender: Contender, binary: Path, name: str, *words: str) -> tuple[Lines, dict[str, float]] | None:
    """Run a program of ours under the contender; None when that failed."""
    program = PROGRAMS / name
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "profile")
        command = contender.command(binary, out, [str(program), *words])
        child = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        alarm = threading.Timer(TIMEOUT_S, child.send_signal, (signal.SIGKILL,))
        alarm.start()
        said, errors = child.communicate()
        alarm.cancel()
        told = [row for row in said.splitlines() if row.startswith("{")]
        try:
            lines = READERS[contender.package or ""](binary, out, str(program))
        except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
            print(
                f"    {contender.name} on {name}: status {child.returncode}: {error}: {errors[-200:]}", file=sys.stderr
            )
            return None
        return lines, json.loads(told[-1]) if told else {}


def shares(found: dict[str, float], truth: dict[str, float]) -> list[float]:
    """Return each mark's error in percentage points of their sum."""
    whole, true_whole = sum(found.get(mark, 0.0) for mark in truth), sum(truth.values())
    return [100 * abs((found.get(mark, 0.0) / whole if whole else 0.0) - truth[mark] / true_whole) for mark in truth]


def of_cpu(contender: Contender, binary: Path, seconds: str) -> dict[str, list[float]]:
    """Return errors of one run: shares of equal lines, shares of unlike lines, time that is not in its kind."""
    errors: dict[str, list[float]] = {}
    if ran := profile(contender, binary, "straight.py", seconds):
        at = marks(PROGRAMS / "straight.py")
        found = {mark: ran[0].get(at[mark], {}).get("cpu", 0.0) for mark in EQUAL}
        errors["equal lines: error, points"] = shares(found, dict.fromkeys(EQUAL, 1.0))
    if (ran := profile(contender, binary, "kinds.py", seconds)) and ran[1]:
        lines, spent = ran
        at = marks(PROGRAMS / "kinds.py")
        truth = {mark: spent[clock] for clock, (mark, _) in SPENT.items()}
        # The clock is around the function: the loop's head, the line above, belongs to it.
        found = {mark: sum(lines.get(at[mark] - up, {}).get("cpu", 0.0) for up in (0, 1)) for mark in truth}
        errors["unlike lines: error, points"] = shares(found, truth)
        if "kind" in contender.reports:
            right = []
            for mark, kind in SPENT.values():
                line = lines.get(at[mark], {})
                right.append(100 * line.get(kind, 0.0) / line["cpu"] if line.get("cpu") else 0.0)
            errors["time not in its kind, per cent"] = [100 - share for share in right]
    return errors


def of_memory(contender: Contender, binary: Path) -> dict[str, list[float]]:
    """Return errors of one run, in per cent of the true bytes; a line that is not reported counts 100."""
    errors: dict[str, list[float]] = {}
    if ran := profile(contender, binary, "blocks.py"):
        at = marks(PROGRAMS / "blocks.py")
        for key, truth, wanted in (("allocated", ALLOCATED, "memory"), ("peak", PEAK, "peak")):
            if wanted in contender.reports:
                found = {mark: ran[0].get(at[mark], {}).get(key, 0.0) for mark in truth}
                errors[f"{key} bytes: error, per cent"] = [100 * abs(found[mark] / truth[mark] - 1) for mark in truth]
    return errors


def measure(python: str, chosen: Sequence[Contender], runs: int, seconds: str) -> dict[str, Any]:
    """Run everything, and return the document that ``page.py`` renders."""
    results: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for contender in chosen:
        try:
            binary = contenders.environment(contender, python)
        except Missing as why:
            missing[contender.name] = str(why)
            continue
        versions[contender.name] = contenders.version(contender, binary)
        errors: dict[str, list[float]] = {}
        for _ in range(runs):
            once = of_cpu(contender, binary, seconds) if "cpu" in contender.reports else {}
            once |= of_memory(contender, binary) if {"memory", "peak"} & set(contender.reports) else {}
            for law, found in once.items():
                errors.setdefault(law, []).extend(found)
        results[contender.name] = {
            law: {"median": statistics.median(found), "most": max(found)} for law, found in errors.items()
        }
        for law, figures in results[contender.name].items():
            print(
                f"{contender.name:<34} {law:<34} median {figures['median']:8.2f}  most {figures['most']:8.2f}",
                flush=True,
            )
    return {
        "measured": "accuracy",
        "machine": contenders.machine(),
        "python": python_version(python),
        "versions": versions,
        "missing": missing,
        "runs": runs,
        "seconds": seconds,
        "results": results,
    }


def python_version(python: str) -> str:
    """Return an interpreter's version."""
    words = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure, print, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each program (3)")
    parser.add_argument("--seconds", default="10", help="CPU seconds of the programs that run by the clock (10)")
    parser.add_argument("--contender", nargs="+", help="these contenders alone")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    chosen = [one for one in CONTENDERS if one.reports and (not options.contender or one.name in options.contender)]
    found = measure(options.python, chosen, options.runs, options.seconds)
    for name, why in found["missing"].items():
        print(f"missing: {name}: {why}")
    if options.output:
        contenders.write(options.output, found)


if __name__ == "__main__":
    main()
