"""``rscalene attach``: what it sees of a program that it does not touch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import PROGRAMS, Start, lines_of

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Read = Callable[..., dict[str, Any]]

LOOP = """
import sys, threading
def work():
    total = 0
    while True:
        for i in range(1000): total += i * i  # the loop
def wait():
    sys.stdin.read()
threading.Thread(target=work, name="worker", daemon=True).start()
print("ready", flush=True)
wait()
print("done")
"""


@pytest.mark.parametrize("source", ["auto", "timer"])
def test_time_goes_to_its_line_and_kind(
    start: Start, tmp_path: Path, clean_env: dict[str, str], profile_of: Read, source: str
) -> None:
    program = start(PROGRAMS / "kinds.py", "0.6", tmp_path / "truth.json")
    command = [sys.executable, "-m", "rscalene", "attach", str(program.pid), "-q", "-o", "p.json", "--interval", "2ms"]
    command += ["--cpu-source", source]
    observer = subprocess.Popen(command, cwd=tmp_path, env=clean_env)
    time.sleep(0.8)
    assert program.stdin is not None
    program.stdin.close()
    assert observer.wait(60) == 0
    truth = json.loads((tmp_path / "truth.json").read_text())
    lines = lines_of(profile_of(), "kinds.py")
    marks = {
        match[1]: number
        for number, line in enumerate((PROGRAMS / "kinds.py").read_text().splitlines(), 1)
        if (match := re.search(r"# S:(\w+)", line))
    }
    right, errors = [], {}
    for name, want in truth.items():
        got = {key: lines.get(marks[name], {}).get(key) or 0 for key in ("python_s", "native_s", "system_s", "wait_s")}
        cpu = got["python_s"] + got["native_s"] + got["system_s"]
        waits = want["kind"] == "wait"
        right.append(got[f"{want['kind']}_s"] / ((cpu + (got["wait_s"] if waits else 0)) or 1))
        errors[name] = abs((got["wait_s"] if waits else cpu) / (want["wall"] if waits else want["cpu"]) - 1)
    assert sum(right) / len(right) > 0.95, right
    assert sum(errors.values()) / len(errors) < 0.06, errors
    assert max(errors.values()) < 0.15, errors


def test_clocks_count_from_the_attach_and_the_program_goes_on(start: Start, rscalene: Run, profile_of: Read) -> None:
    program = start(code=LOOP)
    time.sleep(1)
    answer = rscalene("attach", str(program.pid), "-d", "1s", "-o", "p.json")
    assert answer.returncode == 0, answer.stderr
    profile = profile_of()
    assert profile["totals"]["cpu_clock_s"] < 1.3
    assert profile["target"]["attached"].startswith("outside (")
    assert {thread["name"] for thread in profile["threads"]} == {"MainThread", "worker"}
    lines = lines_of(profile, "app.py")
    loop, waiting = LOOP.splitlines().index("        for i in range(1000): total += i * i  # the loop") + 1, 8
    cpu = {number: (line["python_s"] or 0) + (line["native_s"] or 0) for number, line in lines.items()}
    assert cpu[loop] > 0.9 * sum(cpu.values()) > 0.2
    assert lines[waiting]["wait_s"] == pytest.approx(profile["clock"]["elapsed_s"], rel=0.1)
    assert program.communicate("")[0] == "done\n"
    assert program.returncode == 0


def test_the_program_may_end_first(start: Start, rscalene: Run, profile_of: Read) -> None:
    program = start(code="import time\nprint('ready', flush=True)\ntime.sleep(1)\nsum(range(10**6))\n")
    answer = rscalene("attach", str(program.pid), "-d", "60s", "-o", "p.json")
    assert answer.returncode == 0
    assert re.search(rf"process {program.pid} ended after \d", answer.stderr)
    assert profile_of()["clock"]["elapsed_s"] < 10


def test_ctrl_c_ends_the_recording_and_reports(
    start: Start, tmp_path: Path, clean_env: dict[str, str], profile_of: Read
) -> None:
    program = start(code=LOOP)
    observer = subprocess.Popen(
        [sys.executable, "-m", "rscalene", "attach", str(program.pid), "-o", "p.json"],
        cwd=tmp_path,
        env=clean_env,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert observer.stderr is not None
    assert "from outside" in observer.stderr.readline()
    time.sleep(0.5)
    observer.send_signal(signal.SIGINT)
    assert observer.wait(20) == 0
    observer.stderr.close()
    assert profile_of()["totals"]["cpu_samples"] > 0
    assert program.poll() is None


def test_children_are_seen_with_s_alone(start: Start, rscalene: Run, profile_of: Read) -> None:
    code = """
import os, sys, time
def burn():
    end = time.time() + 30
    while time.time() < end: sum(range(1000))
if os.fork() == 0:
    burn()
print("ready", flush=True)
sys.stdin.read()
"""
    program = start(code=code)
    own = rscalene("attach", str(program.pid), "-d", "0.6s", "-o", "own.json")
    both = rscalene("attach", str(program.pid), "-s", "-d", "0.8s", "-o", "both.json")
    assert (own.returncode, both.returncode) == (0, 0), own.stderr + both.stderr
    assert len(profile_of("own.json")["processes"]) == 1
    profile = profile_of("both.json")
    children = [process for process in profile["processes"] if process["parent"] == program.pid]
    assert len(children) == 1
    os.kill(children[0]["pid"], signal.SIGKILL)
    assert lines_of(profile, "app.py")[5]["native_s"] > 0.2


@pytest.mark.parametrize("ending", ["html", "txt", "collapsed", "speedscope.json", "pstats", "pb.gz", "callgrind"])
def test_every_format_can_be_written(start: Start, rscalene: Run, tmp_path: Path, ending: str) -> None:
    program = start(code=LOOP)
    answer = rscalene("attach", str(program.pid), "-d", "0.3s", "-o", f"p.{ending}")
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / f"p.{ending}").stat().st_size > 100


def test_the_head_names_the_method_of_observation(start: Start, rscalene: Run, tmp_path: Path) -> None:
    program = start(code=LOOP)
    rscalene("attach", str(program.pid), "-d", "0.3s", "-o", "p.txt")
    text = (tmp_path / "p.txt").read_text()
    assert f"attached to {program.pid}: " in text
    assert "outside (" in text


def test_the_observed_program_has_its_cpu(start: Start, rscalene: Run) -> None:
    """The time of a fixed piece of work, observed and not, in turns."""
    code = """
import sys, time
print("ready", flush=True)
for _ in sys.stdin:
    began = time.thread_time()
    total = 0
    for i in range(3_000_000): total += i * i
    print(time.thread_time() - began, flush=True)
"""
    program = start(code=code)
    assert program.stdin is not None
    assert program.stdout is not None

    def took() -> float:
        program.stdin.write("\n")  # type: ignore[union-attr]
        program.stdin.flush()  # type: ignore[union-attr]
        return float(program.stdout.readline())  # type: ignore[union-attr]

    ratios = []
    took()
    for _ in range(5):
        alone = took()
        observer = threading.Thread(target=rscalene, args=("attach", str(program.pid), "-q", "-d", "2s"))
        observer.start()
        time.sleep(0.7)
        ratios.append(took() / alone)
        observer.join()
    assert sorted(ratios)[2] < 1.1, ratios
