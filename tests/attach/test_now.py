"""``rscalene dump``, ``top --once`` and ``report``: what a program does now."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Start

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Read = Callable[..., dict[str, Any]]

DEEP = """
import functools, sys, threading
def wait(): sys.stdin.read()
threading.Thread(target=threading.Event().wait, name="idle", daemon=True).start()
def key(x):
    wait(); return x
def outer(): return sorted([3, 1, 2], key=key)
def top(): return functools.reduce(lambda a, b: outer(), [1, 2, 3])
print("ready", flush=True)
top()
"""
LOOP = """
import sys, threading
def work():
    total = 0
    while True:
        for i in range(1000): total += i * i
def sleeper(): threading.Event().wait()
threading.Thread(target=sleeper, name="sleeper", daemon=True).start()
print("ready", flush=True)
work()
"""


def dumped(answer: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert answer.returncode == 0, answer.stderr
    threads = json.loads(answer.stdout)["processes"][0]["threads"]
    return {thread["name"]: thread for thread in threads}


def test_every_thread_with_its_lines_and_what_it_waits_in(start: Start, rscalene: Run) -> None:
    program = start(code=DEEP)
    threads = dumped(rscalene("dump", str(program.pid), "--json"))
    assert set(threads) == {"MainThread", "idle"}
    frames = [(frame["function"], frame["line"]) for frame in threads["MainThread"]["frames"]]
    assert frames == [
        ("wait", 3),
        ("key", 6),
        ("outer", 7),
        ("top.<locals>.<lambda>", 8),
        ("top", 8),
        ("<module>", 10),
    ]
    assert threads["MainThread"]["state"] == "waits in read"
    assert "futex" in threads["idle"]["state"]
    text = rscalene("dump", str(program.pid)).stdout
    assert f'Thread {program.pid} "MainThread"  waits in read' in text
    assert "def outer(): return sorted([3, 1, 2], key=key)" in text


def test_native_frames_stand_between_the_python_frames(start: Start, rscalene: Run) -> None:
    program = start(code=DEEP)
    stack = dumped(rscalene("dump", str(program.pid), "--native", "--json"))["MainThread"]["frames"]
    names = [frame["function"] for frame in stack]
    order = [names.index(name) for name in ("wait", "key", "builtin_sorted", "outer", "top", "<module>")]
    assert order == sorted(order), names
    assert any("reduce" in name for name in names[names.index("outer") : names.index("top")]), names
    assert [name for name in names if "EvalFrameDefault" in name] == []
    assert program.poll() is None
    assert program.communicate("")[0] == ""
    assert program.returncode == 0


def test_who_has_the_gil(start: Start, rscalene: Run) -> None:
    program = start(code=LOOP)
    threads = dumped(rscalene("dump", str(program.pid), "--json"))
    assert threads["MainThread"]["holds_gil"]
    assert not threads["sleeper"]["holds_gil"]


def test_tasks_of_an_idle_loop(start: Start, rscalene: Run) -> None:
    code = """
import asyncio
async def inner(): await asyncio.sleep(60)
async def outer(): await inner()
async def main():
    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    print("ready", flush=True)
    await task
asyncio.run(main())
"""
    program = start(code=code)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        tasks = dumped(rscalene("dump", str(program.pid), "--json"))["MainThread"]["tasks"]
        chains = [[frame["function"] for frame in task] for task in tasks]
        if any({"inner", "outer"} <= set(chain) for chain in chains):
            return
    raise AssertionError(chains)


def test_top_shows_the_share_of_the_loop(start: Start, rscalene: Run, profile_of: Read) -> None:
    program = start(code=LOOP)
    answer = rscalene("top", str(program.pid), "--once", "-d", "2s", "--json")
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    shares = {line["line"]: line["own_percent"] for line in told["lines"]}
    assert shares[6] > 0.95 * sum(shares.values())
    assert told["lines"][0]["source"] == "for i in range(1000): total += i * i"
    assert {thread["name"] for thread in told["threads"]} == {"MainThread", "sleeper"}
    assert "app.py:6" in rscalene("top", str(program.pid), "-d", "0.5s").stdout


def test_a_running_profile_can_be_read(
    tmp_path: Path, clean_env: dict[str, str], rscalene: Run, profile_of: Read
) -> None:
    (tmp_path / "app.py").write_text(LOOP)
    command = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "end.json", "app.py"]
    launcher = subprocess.Popen(command, cwd=tmp_path, env=clean_env, stdout=subprocess.PIPE, text=True)
    try:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        time.sleep(2.5)
        answer = rscalene("report", str(launcher.pid), "-o", "so_far.json")
        assert answer.returncode == 0, answer.stderr
        profile = profile_of("so_far.json")
        assert profile["totals"]["cpu_samples"] > 10
        assert any("so far" in notice["text"] for notice in profile["notices"])
        assert launcher.poll() is None
        answer = rscalene("report", str(profile["target"]["pid"]))
        assert re.search(r"app\.py:6", answer.stdout)
    finally:
        launcher.terminate()
        launcher.communicate()
    assert profile_of("end.json")["totals"]["cpu_clock_s"] > profile["totals"]["cpu_clock_s"]


def test_report_refuses_what_does_not_run_under_it(start: Start, rscalene: Run) -> None:
    program = start(code=LOOP)
    answer = rscalene("report", str(program.pid))
    assert answer.returncode == 4
    assert f"process {program.pid} does not run under `rscalene run`" in answer.stderr


@pytest.mark.parametrize("options", ["", ", preexec_fn=lambda: None"])
def test_a_child_without_python_is_no_cost_of_its_parent(
    rscalene: Run, tmp_path: Path, profile_of: Read, options: str
) -> None:
    shell = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    code = f"import subprocess\nsubprocess.run(['sh', '-c', '{shell}']{options})\n"
    (tmp_path / "app.py").write_text(code)
    assert rscalene("run", "-q", "-o", "p.json", "app.py").returncode == 0
    profile = profile_of()
    assert profile["totals"]["cpu_clock_s"] < 0.25
    assert profile["totals"]["native_s"] < 0.25


def test_an_exec_that_fails_changes_nothing(rscalene: Run, tmp_path: Path, profile_of: Read) -> None:
    code = """
import contextlib, os, time
if os.fork() == 0:
    with contextlib.suppress(OSError): os.execv("/nonexistent/program", ["x"])
    end = time.thread_time() + 0.4
    while time.thread_time() < end: sum(range(1000))
    time.sleep(0.5)
    os._exit(0)
os.wait()
"""
    (tmp_path / "app.py").write_text(code)
    assert rscalene("run", "-q", "-o", "p.json", "app.py").returncode == 0
    lines = {line["line"]: line for file in profile_of()["files"] for line in file["lines"]}
    assert lines[6]["native_s"] + lines[6]["python_s"] > 0.3
    assert lines[7]["wait_s"] == pytest.approx(0.5, abs=0.15)
