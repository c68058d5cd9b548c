"""Waiting in other libraries' event loops stands on the lines that await, as with asyncio's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = """
import {library} as loops, sys
def burn():
    return sum(i * i % 7 for i in range(1_000_000))
async def short():
    for _ in range(5):
        await {sleep}(0.2)
async def long():
    await {sleep}(1.2)
    burn()
async def deep():
    await long()
{main}
"""
TASKS = """
async def main():
    await asyncio.gather(short(), deep())
"""
NURSERY = """
async def main():
    async with loops.open_nursery() as nursery:
        nursery.start_soon(short)
        nursery.start_soon(deep)
loops.run(main)
"""
ENTRIES = {
    "uvloop.run": "loops.run(main())",
    "a loop of its own": "loop = loops.new_event_loop()\nloop.run_until_complete(main())",
    "a loop in a function": (
        "def start():\n    loop = loops.new_event_loop()\n    loop.run_until_complete(main())\nstart()"
    ),
    "run_forever": (
        "loop = loops.new_event_loop()\ntask = loop.create_task(main())\n"
        "task.add_done_callback(lambda _: loop.stop())\nloop.run_forever()"
    ),
}


def waits(rscalene: Run, tmp_path: Path, program: str) -> tuple[float, float, float]:
    """Seconds of waiting on the two lines that await, and in all."""
    (tmp_path / "app.py").write_text(program)
    result = rscalene("run", "-q", "-o", "out.json", "app.py")
    assert result.returncode == 0, result.stderr
    profile = json.loads((tmp_path / "out.json").read_text())
    lines = {line["line"]: line["wait_s"] for file in profile["files"] for line in file["lines"]}
    return lines.get(7, 0), lines.get(9, 0), profile["totals"]["wait_s"]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_uvloops_waits_are_on_the_awaiting_lines(rscalene: Run, tmp_path: Path, entry: str) -> None:
    main = "import asyncio\n" + TASKS + entry
    short, long, all = waits(rscalene, tmp_path, PROGRAM.format(library="uvloop", sleep="asyncio.sleep", main=main))
    # Both wait for the first second, half of it each; then one waits for a fifth.
    assert short == pytest.approx(0.5, abs=0.15)
    assert long == pytest.approx(0.7, abs=0.15)
    assert all == pytest.approx(1.2, abs=0.2)


def test_trios_waits_are_on_the_awaiting_lines(rscalene: Run, tmp_path: Path) -> None:
    program = PROGRAM.format(library="trio", sleep="loops.sleep", main=NURSERY)
    short, long, all = waits(rscalene, tmp_path, program)
    assert short == pytest.approx(0.5, abs=0.15)
    assert long == pytest.approx(0.7, abs=0.15)
    assert all == pytest.approx(1.2, abs=0.2)


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, socket, time
def sleeper():
    time.sleep(1.5)
def reader():
    one.recv(1)
def writer():
    gevent.sleep(1.0)
    other.send(b"x")
one, other = socket.socketpair()
gevent.joinall([gevent.spawn(f) for f in (sleeper, reader, writer)])
gevent.sleep(0.5)
"""


def test_gevents_waits_are_on_the_lines_of_the_greenlets_that_wait_for_the_system(
    rscalene: Run, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(GREENLETS)
    result = rscalene("run", "-q", "-o", "out.json", "app.py")
    assert result.returncode == 0, result.stderr
    profile = json.loads((tmp_path / "out.json").read_text())
    lines = {line["line"]: line["wait_s"] for file in profile["files"] for line in file["lines"]}
    # Three share the first second, then one waits alone. The main greenlet waits for them, and at last by itself.
    parts = [lines.get(line, 0) for line in (5, 7, 9, 13)]
    assert all(part > 0.1 for part in parts[:3])
    assert parts[1] == pytest.approx(parts[2], abs=0.02)
    assert parts[0] > parts[1] - 0.02
    assert sum(parts) > profile["totals"]["wait_s"] / 2
    assert lines.get(12, 0) < 0.1


def test_many_greenlets_share_a_hubs_waiting_however_much_the_collector_holds(rscalene: Run, tmp_path: Path) -> None:
    program = """
import gevent
kept = [[] for _ in range(100_000)]
def one(): gevent.sleep(1.0)
def two(): gevent.sleep(1.0)
gevent.joinall([gevent.spawn(f) for f in (one, one, one, two) * 100])
"""
    (tmp_path / "app.py").write_text(program)
    result = rscalene("run", "-q", "-o", "out.json", "app.py")
    assert result.returncode == 0, result.stderr
    profile = json.loads((tmp_path / "out.json").read_text())
    lines = {line["line"]: line["wait_s"] for file in profile["files"] for line in file["lines"]}
    # Three of four stand on the first line, whichever of them were read.
    assert lines[4] + lines[5] > profile["totals"]["wait_s"] / 4
    assert lines[4] / (lines[4] + lines[5]) == pytest.approx(0.75, abs=0.12)
