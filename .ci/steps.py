"""The steps of CI: what must hold before a change lands. Exit code 0 only if every step passed.

Three stages. `BUILD` and `BESIDE` use both cores: two steps run at once, and a step's output is printed when it ends.
`ALONE` has what is judged by a clock: one step at a time. Which tests run under which interpreter, and why, stands in
tests/suites.py.

    .ci/run                      everything
    .ci/run --only 'Rust|demo'   the steps whose names match
    .ci/run --list               what would run

A step that fails has a second try, alone, after its stage; for pytest that try has only the tests that failed. The end
repeats the runners' closing lines and names every second try.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from suites import SUITES, TIMED  # noqa: E402

LONGEST_S = 1500
"""After so long a step is ended, and counts as failed."""

CLOSING = re.compile(r"^(?:\d+ \w+, )*\d+ \w+ in [\d.]+s.*$|^test result: .*$", re.MULTILINE)
AGAIN = re.compile(r"^RERUN (\S+)", re.MULTILINE)
DEBIANS = ("3.13", "3.14", "3.15")
"""Versions that tests/newer-pythons brings, in Debian's optimised build."""


@dataclass
class Step:
    """A command of the shell, and what became of it."""

    name: str
    command: str
    second: str = ""
    """The command of a second try; the default is the same."""
    tries: int = 0
    seconds: float = 0.0
    passed: bool = False
    closing: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


def pytest(name: str, command: str) -> Step:
    """Return a step of pytest, whose second try has only what failed."""
    command += " -q -o cache_dir=.build/pytest/" + re.sub(r"\W+", "-", name)
    return Step(name, command, command + " --last-failed")


def make(name: str, target: str) -> Step:
    """Return a step that is a target of the Makefile, for pytest or anything else."""
    cache = f"-q -o cache_dir=.build/pytest/{target}"
    return Step(name, f"make {target} PYTEST_ARGS='{cache}'", f"make {target} PYTEST_ARGS='{cache} --last-failed'")


_printing = threading.Lock()
_running: set[int] = set()


def stop(number: int, _frame: object) -> None:
    """End the steps with the run: each has a session of its own, which no signal of a terminal reaches."""
    for group in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
    os._exit(128 + number)


def run(step: Step) -> None:
    """Run a step once and print what it said."""
    command = step.second if step.tries and step.second else step.command
    step.tries += 1
    with _printing:
        print(f"=== {step.name}: begins{'' if step.tries == 1 else ', second try'}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:  # no pipe: a process that a test left behind would hold it open
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        _running.add(process.pid)
        try:
            step.passed = process.wait(LONGEST_S) == 0
        except subprocess.TimeoutExpired:
            step.passed = False
            said.write(f"\nended after {LONGEST_S} s\n".encode())
            os.killpg(process.pid, signal.SIGKILL)
        _running.discard(process.pid)
        said.seek(0)
        output = said.read().decode(errors="replace")
    took = time.monotonic() - began
    step.seconds += took
    step.closing += CLOSING.findall(output)
    step.again += AGAIN.findall(output)
    verdict = "passed" if step.passed else "failed"
    with _printing:
        print(f"\n=== {step.name}\n{output}--- {step.name}: {verdict} ({took:.0f} s)\n", flush=True)


def stage(steps: Iterable[Step], lanes: int) -> list[Step]:
    """Run steps in so many lanes, then once more, alone, what failed."""
    steps = list(steps)
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(run, steps))
    for step in steps:
        if not step.passed:
            run(step)
    return steps


# --- which interpreters


def debians() -> tuple[str, ...]:
    """Return the versions that run among Debian's newest builds on this machine."""
    asked = subprocess.run(["tests/newer-pythons", "available"], cwd=ROOT, capture_output=True, text=True, check=False)
    if asked.returncode:
        print(f"not run under Debian's newest CPython builds: {asked.stdout.strip()}")
    return () if asked.returncode else DEBIANS


def own() -> str:
    """Return the minor version that make chooses."""
    words = ["make", "--no-print-directory", "-s", "print-python"]
    python = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return version_of(python)


def version_of(python: str) -> str:
    """Return the minor version of an interpreter that can make environments; empty where it cannot."""
    ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def locals_but(left_out: set[str]) -> dict[str, str]:
    """Return an interpreter for each other minor version at hand: on PATH, or kept by pyenv."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, str] = {}
    for version in (f"3.{minor}" for minor in range(11, 16)):
        candidates = [shutil.which(f"python{version}"), *map(str, sorted(kept.glob(f"{version}.*/bin/python3")))]
        for python in filter(None, candidates):
            if version not in left_out and version not in found and version_of(python) == version:
                found[version] = python
    return found


@dataclass
class Interpreter:
    """One that the plain suite runs under, in an environment of its own (``prefix`` goes before its commands)."""

    name: str
    python: str
    venv: str
    prefix: str = ""

    def prepare(self) -> str:
        """Return the command that makes the environment."""
        return (
            f"{self.prefix} {self.python} -m venv --clear {self.venv} && "
            f"{self.prefix} {self.venv}/bin/python -m pip install --quiet -r tests/requirements.txt"
        )

    def plain(self, words: str, *, install: bool = False) -> Step:
        """Return the step that runs what ``words`` select of the plain suite, after the wheel was installed or not."""
        python = f"{self.prefix} {self.venv}/bin/python"
        step = pytest(f"{self.name}: {words}", f'{python} -m pytest -m "{words}"')
        if install:
            step.command = (
                f"{python} -m pip install --quiet --force-reinstall --no-deps .build/dist/*.whl\n{step.command}"
            )
        return step


def main() -> int:
    """Run all, and return the exit code."""
    began = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    newer = debians()
    others = [
        *(
            Interpreter(f"python {version}", python, f".build/venv-{version}")
            for version, python in locals_but({own(), *newer}).items()
        ),
        *(
            Interpreter(f"Debian's python {v}", f"python{v}", f"/tmp/rscalene-{v}", "tests/newer-pythons")
            for v in newer
        ),
    ]
    first = Interpreter(f"python {own()}", "", ".build/venv")
    debian = re.search(r"^ID=debian", Path("/etc/os-release").read_text(), re.MULTILINE) is not None

    fetch = [f"tests/{path.name}" for path in sorted((ROOT / "tests").glob("install-*"))] if debian else []
    fetch += [interpreter.prepare() for interpreter in others]
    build = [
        Step("the wheel and its environment", "make environment && make .build/installed"),
        Step("what the tests fetch", "\n".join(fetch)),
        Step("Rust tests, built", "cargo test --workspace --exclude 'rscalene-shim*' --locked --no-run"),
    ]
    beside = [first.plain("not timed"), make("lints", "lint")]
    if debian:
        beside.append(make("fuzzing, guided by coverage", "fuzz"))
    if shutil.which("valgrind"):
        beside.append(make("memcheck", "test-memcheck"))
    left_out = {"plain"} | (set() if debian else {"allocators"}) | (set() if may_mount_and_make_cgroups() else {"root"})
    suites = [suite for suite in SUITES if suite.name not in left_out]
    beside += [make(f"the suite {suite.name}", f"test-{suite.name}") for suite in suites if suite.name not in TIMED]
    beside += [interpreter.plain("not timed and not once", install=True) for interpreter in others]
    beside += [
        make("demo", "demo"),
        make("the documentation site", "docs"),
        make("the wheel on an index", "check-wheel"),
    ]
    alone = [
        make("Rust tests", "test-rust"),
        first.plain("timed"),
        *(interpreter.plain("timed and not once") for interpreter in others),
        *(make(f"the suite {suite.name}", f"test-{suite.name}") for suite in suites if suite.name in TIMED),
    ]

    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    done: list[Step] = []
    for lanes, steps in ((2, build), (2, beside), (1, alone)):
        chosen = [step for step in steps if re.search(given.only, step.name)]
        if given.list:
            print(*(f"{'alone' if lanes == 1 else '     '} {step.name}" for step in chosen), sep="\n")
        elif all(step.passed for step in done if step in build):
            done += stage(chosen, lanes)
    if given.list:
        return 0
    if not done:
        parser.error(f"no step matches {given.only!r}: see --list")
    return tell(done, time.monotonic() - began)


def may_mount_and_make_cgroups() -> bool:
    """Whether this machine lets its user do what the suite `root` does."""
    group = f"/sys/fs/cgroup/memory/rscalene-{os.getpid()}"
    trial = f"unshare -m mount -t tmpfs none /tmp && mkdir {group} && rmdir {group}"
    return subprocess.run(["bash", "-c", trial], capture_output=True, check=False).returncode == 0


def tell(steps: list[Step], seconds: float) -> int:
    """Print the end, and return the exit code."""
    print(f"\n{seconds / 60:.1f} minutes")
    for step in steps:
        print(f"{'passed' if step.passed else 'FAILED'} {step.seconds:6.0f} s  {step.name}")
        for line in step.closing:
            print(f"                 {line}")
    for step in steps:
        if step.tries > 1:
            print(f"run twice: {step.name}")
        for test, tries in Counter(step.again).items():
            print(f"tried {1 + tries} times: {test} ({step.name})")
    failed = [step.name for step in steps if not step.passed]
    for name in failed:
        print(f"failed: {name}")
    if not failed:
        print("all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
