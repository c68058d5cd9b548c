"""Time on the right line: exported waits, very long functions, and a Profiler beside busy processes."""

from __future__ import annotations

import json
import pstats
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def lines(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """All lines of a profile."""
    return [line for file in profile["files"] for line in file["lines"]]


def cpu(line: dict[str, Any]) -> float:
    """CPU seconds of a line."""
    return sum(line[key] or 0.0 for key in ("python_s", "native_s", "system_s"))


QUERIES = """import socket, threading, time
def server(there):
    for _ in range(6):
        there.recv(1)
        time.sleep(0.17)
        there.send(b"x")
def wait(here):
    return here.recv(1)
def query(here):
    here.send(b"q")
    return wait(here)
def main():
    here, there = socket.socketpair()
    threading.Thread(target=server, args=(there,)).start()
    began = time.perf_counter()
    for _ in range(6):
        query(here)
    print(time.perf_counter() - began)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
main()
"""


def test_pstats_hold_the_time_that_a_function_waited_as_cprofile_does(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(QUERIES)
    done = rscalene("run", "-o", "app.pstats", "-o", "app.json", "app.py")
    waited = float(done.stdout)
    assert "wall time (CPU and waiting)" in done.stderr
    assert "ncalls are CPU samples, not calls" in done.stderr

    def times(name: str) -> dict[str, tuple[float, float]]:
        stats: Any = pstats.Stats(str(tmp_path / name))
        return {key[2]: value[2:4] for key, value in stats.stats.items()}

    wall = times("app.pstats")
    assert wall["wait"] == pytest.approx((waited, waited), abs=0.06)
    assert wall["query"] == pytest.approx((0.0, waited), abs=0.06)
    assert wall["main"][1] > waited + 0.1
    root = "<rscalene: wall seconds (CPU and waiting) of all threads; ncalls are CPU samples, not calls>"
    assert wall[root][1] == pytest.approx(sum(own for own, _ in wall.values()))
    rscalene("view", "app.json", "-o", "cpu.pstats", "--of", "cpu")
    assert times("cpu.pstats").get("wait", (0.0, 0.0))[1] < 0.1


def test_a_function_of_many_lines_has_its_time_on_its_lines(rscalene: Run, tmp_path: Path) -> None:
    body = "".join(f"    t += x[{at % 50}] % 7\n" for at in range(60_000))
    (tmp_path / "app.py").write_text(
        f"def f(x):\n    t = 0\n{body}    return t\n"
        "x = list(range(50))\nimport time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: f(x)\n"
    )
    done = rscalene("run", "-q", "--cpu-only", "-o", "app.json", "app.py")
    assert done.returncode == 0, done.stderr
    profile = json.loads((tmp_path / "app.json").read_text())
    inside = [line for line in lines(profile) if line["function"] == "f"]
    assert len(inside) > 50
    assert sum(cpu(line) for line in inside if line["line"] == 1) == 0
    assert not [notice for notice in profile["notices"] if notice["code"] == "lines_unknown"]


BESIDE = """import os, socket, time, rscalene
def fork(body):
    child = os.fork()
    if child == 0:
        body()
        os._exit(0)
    return child
def burn():
    end = time.monotonic() + 6
    while time.monotonic() < end: pass
def answer():
    while there.recv(1):
        time.sleep(0.002)
        there.send(b"x")
here, there = socket.socketpair()
children = [fork(burn) for _ in range(3)] + [fork(answer)]
def work():
    end = time.thread_time() + 0.002
    while time.thread_time() < end: pass
def query():
    here.send(b"q")
    here.recv(1)
with rscalene.Profiler(memory=False) as profiler:
    end = time.monotonic() + 3
    while time.monotonic() < end:
        work()
        query()
for child in children:
    os.kill(child, 9)
print(profiler.result().to_json())
"""


@pytest.mark.timed
def test_a_thread_that_waits_for_a_core_spends_no_cpu_on_its_query(python: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BESIDE)
    profile = json.loads(python("app.py").stdout)
    of = {name: sum(cpu(line) for line in lines(profile) if line["function"] == name) for name in ("work", "query")}
    assert of["work"] > 0.1
    assert of["query"] < 0.06 * of["work"]
