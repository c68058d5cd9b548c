"""What a profiled line costs: rscalene, line_profiler and memory_profiler on the same loop in the same run.

The loop has three cheap lines. The number is (decorated - plain) / lines run, in nanoseconds of this thread's CPU time,
the least of many interleaved repeats: the least is what the work takes, the rest is the machine. Peers that are not
installed are left out.

    python benches/line_cost.py [--json]
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import sys
import time
from collections.abc import Callable
from types import FunctionType

import rscalene
from rscalene.lines import Options, decorate

LINES = 3


def loop(turns: int) -> int:
    """Run three cheap lines a turn."""
    total = 0
    for turn in range(turns):
        total = turn & 255
        total ^= 1
    return total


def copy_of_loop() -> FunctionType:
    """Return ``loop`` with a code object of its own: a profiler's events stay on it."""
    return FunctionType(loop.__code__.replace(), globals(), "loop")


def cpu_ns(function: Callable[[int], int], turns: int) -> int:
    """Return the thread CPU time of one call, in nanoseconds."""
    started = time.thread_time_ns()
    function(turns)
    return time.thread_time_ns() - started


def contenders() -> dict[str, tuple[Callable[[int], int], int]]:
    """Return name -> (decorated loop, turns)."""
    quiet = io.StringIO()
    found: dict[str, tuple[Callable[[int], int], int]] = {}
    for name, columns in [("rscalene time", "time"), ("rscalene time and memory", "all")]:
        watched = decorate(copy_of_loop(), Options(columns=columns, stream=quiet), lambda outcome: None)
        found[f"{name} {rscalene.__version__}"] = (watched, 20_000)
    with contextlib.suppress(ImportError):
        from line_profiler import LineProfiler

        profiler = LineProfiler()
        found[f"line_profiler {importlib.metadata.version('line_profiler')}"] = (profiler(copy_of_loop()), 20_000)
    with contextlib.suppress(ImportError):
        import memory_profiler

        watched = memory_profiler.profile(copy_of_loop(), stream=quiet)
        found[f"memory_profiler {importlib.metadata.version('memory_profiler')}"] = (watched, 200)
    return found


def measure(repeats: int) -> dict[str, float]:
    """Return name -> added nanoseconds a line."""
    plain = copy_of_loop()
    plain_ns = float("inf")
    least: dict[str, float] = {}
    watched = contenders()
    for _ in range(repeats):
        plain_ns = min(plain_ns, cpu_ns(plain, 20_000) / (20_000 * LINES))
        for name, (function, turns) in watched.items():
            least[name] = min(least.get(name, float("inf")), cpu_ns(function, turns) / (turns * LINES))
    return {name: ns - plain_ns for name, ns in least.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=25, help="interleaved repeats (25)")
    options = parser.parse_args()
    added = measure(options.repeats)
    version = ".".join(map(str, sys.version_info[:3]))
    if options.json:
        print(json.dumps({"measured": "lines", "python": version, "added_ns_per_line": added}))
        return
    print(f"Python {version}: added nanoseconds a line")
    for name, ns in added.items():
        print(f"  {name:<36} {ns:>10,.1f}")


if __name__ == "__main__":
    main()
