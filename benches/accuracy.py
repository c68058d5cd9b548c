"""How far each profiler's figures are from the truth, on programs that know it.

The programs are those of ``tests/accuracy/programs``, their truth is in ``truths.py``. Errors are in percentage points
of the CPU time of what is compared, in per cent of a line's true bytes; kinds are right by the share of the line's time
that is given to the right kind. A profiler is asked for what it reports, and nothing else.

    python benches/accuracy.py [--runs N] [--seconds S] [--contender NAME ...] [--python EXE] [-o FILE]
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

import contenders
import truths
from contenders import CONTENDERS, Contender, Missing
from readings import FUNCTIONS, LINES, Functions, Lines
from truths import PROGRAMS, marks

TIMEOUT_S = 120


@dataclass(frozen=True)
class Ran:
    """One run of a program under a contender: what the profiler says and what the program's clocks say."""

    lines: Lines
    functions: Functions
    clocks: dict[str, float]

    def cpu(self, line: int) -> float:
        """Return the CPU time of a line and of the head of its loop, which is the line above."""
        return sum(self.lines.get(line - up, {}).get("cpu", 0.0) for up in (0, 1))


def profile(contender: Contender, binary: Path, name: str, *words: str) -> Ran | None:
    """Run a program of ours under the contender; None when that failed."""
    program = PROGRAMS / name
    tool = contender.name.split()[0]
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
            lines = LINES[tool](binary, out, str(program)) if tool in LINES else {}
            functions = FUNCTIONS[tool](binary, out, str(program)) if tool in FUNCTIONS else {}
        except (OSError, ValueError, KeyError, RecursionError, subprocess.CalledProcessError) as error:
            print(
                f"    {contender.name} on {name}: status {child.returncode}: {error}: {errors[-200:]}", file=sys.stderr
            )
            return None
        return Ran(lines, functions, loads(told[-1]) if told else {})


def shares(found: dict[str, float], truth: dict[str, float]) -> list[float]:
    """Return each one's error in percentage points of their sum."""
    whole, true_whole = sum(found.get(name, 0.0) for name in truth), sum(truth.values())
    return [100 * abs((found.get(name, 0.0) / whole if whole else 0.0) - truth[name] / true_whole) for name in truth]


def of_equal_lines(ran: Ran) -> list[float]:
    """Lines of equal work: straight.py."""
    at = marks("straight.py")
    return shares({mark: ran.lines.get(at[mark], {}).get("cpu", 0.0) for mark in at}, dict.fromkeys(truths.EQUAL, 1.0))


def of_clocks(program: str, clocks: dict[str, str]) -> Callable[[Ran], list[float]]:
    """Lines of unequal work, whose clocks (clock -> mark) the program reads."""

    def law(ran: Ran) -> list[float]:
        at = marks(program)
        return shares(
            {clock: ran.cpu(at[mark]) for clock, mark in clocks.items()}, {name: ran.clocks[name] for name in clocks}
        )

    return law


def of_kinds(ran: Ran) -> list[float]:
    """How much of each line's time is not in its kind: kinds.py."""
    at, wrong = marks("kinds.py"), []
    for mark, kind in truths.KINDS.values():
        line = ran.lines.get(at[mark], {})
        wrong.append(100 - 100 * line.get(kind, 0.0) / line["cpu"] if line.get("cpu") else 100.0)
    return wrong


def of_calls(ran: Ran) -> list[float]:
    """Equal work in two functions, in one of them behind a call: calls.py."""
    return shares(ran.functions, {name: ran.clocks[name] for name in truths.CALLS})[:1]


def of_bytes(program: str, key: str, truth: dict[str, int]) -> Callable[[Ran], list[float]]:
    """Bytes of lines."""

    def law(ran: Ran) -> list[float]:
        at = marks(program)
        return [100 * abs(ran.lines.get(at[mark], {}).get(key, 0.0) / size - 1) for mark, size in truth.items()]

    return law


@dataclass(frozen=True)
class Law:
    """What is compared: who reports it, in which program, and how the errors of a run are found."""

    name: str
    asks: str
    program: str
    timed: bool
    errors: Callable[[Ran], list[float]]


LAWS = (
    Law("equal lines: error, points", "cpu", "straight.py", True, of_equal_lines),
    Law(
        "unlike lines: error, points",
        "cpu",
        "kinds.py",
        True,
        of_clocks("kinds.py", {clock: mark for clock, (mark, _) in truths.KINDS.items()}),
    ),
    Law("behind long system calls: error, points", "cpu", "late.py", True, of_clocks("late.py", truths.LATE)),
    Law("time not in its kind, per cent", "kind", "kinds.py", True, of_kinds),
    Law("work behind calls: error, points", "functions", "calls.py", True, of_calls),
    Law("threads: error, points", "cpu", "threads.py", True, of_clocks("threads.py", truths.THREADS)),
    Law("processes: error, points", "cpu", "processes.py", True, of_clocks("processes.py", truths.PROCESSES)),
    Law(
        "allocated bytes: error, per cent",
        "memory",
        "blocks.py",
        False,
        of_bytes("blocks.py", "allocated", truths.ALLOCATED),
    ),
    Law("bytes at the peak: error, per cent", "peak", "blocks.py", False, of_bytes("blocks.py", "peak", truths.PEAK)),
    Law("bytes kept: error, per cent", "kept", "blocks.py", False, of_bytes("blocks.py", "kept", truths.KEPT)),
    Law("bytes copied: error, per cent", "copy", "copies.py", False, of_bytes("copies.py", "copied", truths.COPIED)),
)


def once(contender: Contender, binary: Path, seconds: str, laws: Iterable[Law]) -> dict[str, list[float]]:
    """Return the errors of one run of every program that the contender is asked about."""
    errors: dict[str, list[float]] = {}
    ran: dict[str, Ran | None] = {}
    for law in laws:
        if law.asks not in contender.reports:
            continue
        if law.program not in ran:
            ran[law.program] = profile(contender, binary, law.program, *([seconds] if law.timed else []))
        try:
            found = ran[law.program]
            errors[law.name] = law.errors(found) if found else []
        except KeyError as clock:
            print(f"    {contender.name} on {law.program}: the program did not tell {clock}", file=sys.stderr)
            errors[law.name] = []
    return errors


def measure(python: str, chosen: Sequence[Contender], runs: int, seconds: str, output: Path | None) -> dict[str, str]:
    """Run everything; after each contender, write what is known as the document that ``page.py`` renders.

    Returns the contenders that are missing, and why.
    """
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
            for law, found in once(contender, binary, seconds, LAWS).items():
                errors.setdefault(law, []).extend(found)
        results[contender.name] = {
            law: {"median": statistics.median(found), "most": max(found)} if found else None
            for law, found in errors.items()
        }
        for law, figures in results[contender.name].items():
            said = f"median {figures['median']:8.2f}  most {figures['most']:8.2f}" if figures else "failed"
            print(f"{contender.name:<34} {law:<34} {said}", flush=True)
        if output:
            document = {
                "measured": "accuracy",
                "machine": contenders.machine(),
                "python": python_version(python),
                "versions": versions,
                "missing": missing,
                "runs": runs,
                "seconds": seconds,
                "results": results,
            }
            contenders.write(output, document)
    return missing


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
    missing = measure(options.python, chosen, options.runs, options.seconds, options.output)
    for name, why in missing.items():
        print(f"missing: {name}: {why}")


if __name__ == "__main__":
    main()
