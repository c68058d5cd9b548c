"""How the cost of profiling grows: with allocations, threads, depth of the stack, length of the run, number of lines.

Each row is a program of one size, run plain and under ``rscalene run`` at once on one core; the figure is the median
ratio of the CPU seconds of the program's own work, beside that of all that was started and the bytes it wrote.

    python benches/scale.py [--rounds N] [--python EXE] [-o FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contenders import CONTENDERS
from overhead import Workload, measure

SIZES = {
    "allocations": (0, 10, 100, 1_000),
    "threads": (1, 10, 100, 1_000),
    "depth": (1, 10, 100, 900),
    "seconds": (1, 4, 16),
    "lines": (10, 1_000, 50_000),
}
"""Program of workloads/sizes.py -> its sizes."""


def main() -> None:
    """Measure, print, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs of each (3)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure with")
    parser.add_argument("-o", "--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    programs = [
        Workload(f"{name} {size}", "sizes.py", (name, str(size))) for name, sizes in SIZES.items() for size in sizes
    ]
    chosen = [one for one in CONTENDERS if one.name in ("rscalene", "rscalene --cpu-only")]
    measure(options.python, programs, chosen, options.rounds, options.output, "scale", together=True)


if __name__ == "__main__":
    main()
