"""Run what is judged by a clock again and again, with no second try, and count each test's failures.

CI gives such a test further tries, which hides how often it needs them. `make test-strict ROUNDS=5` shows it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def main() -> int:
    """Run the rounds; return 1 if a test failed in one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("pytest", nargs="*", help="further words for pytest")
    given = parser.parse_args()
    failures: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            print(f"round {number + 1} of {given.rounds}", flush=True)
            report = Path(folder) / f"{number}.xml"
            words = ["-q", "-m", "timed", "--one-try", f"--junitxml={report}", *given.pytest]
            ended = subprocess.run([sys.executable, "-m", "pytest", *words], check=False)
            if ended.returncode not in (0, 1):
                return ended.returncode
            for case in ElementTree.parse(report).iter("testcase"):
                name = f"{case.get('classname')}::{case.get('name')}"
                runs[name] += 1
                failures[name] += any(case.find(kind) is not None for kind in ("failure", "error"))
    flaky = +failures
    for name, count in flaky.most_common():
        print(f"failed {count} of {runs[name]}: {name}")
    print(f"{sum(flaky.values())} failures in {sum(runs.values())} runs of {len(runs)} tests")
    return 1 if flaky else 0


if __name__ == "__main__":
    sys.exit(main())
