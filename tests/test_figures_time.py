"""Time on the right line: exported waits, long functions, busy machines, the collector, tasks, cells of notebooks."""

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
def clock():
    # Without the time in which the thread was ready to run but had no core.
    with open("/proc/thread-self/schedstat") as figures:
        return time.perf_counter() - int(figures.read().split()[1]) / 1e9
def main():
    here, there = socket.socketpair()
    threading.Thread(target=server, args=(there,)).start()
    began = clock()
    for _ in range(6):
        query(here)
    print(clock() - began)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
main()
"""


@pytest.mark.timed
def test_pstats_hold_the_time_that_a_function_waited_as_cprofile_does(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(QUERIES)
    done = rscalene("run", "-o", "app.pstats", "-o", "app.json", "app.py")
    waited = float(done.stdout)
    assert "wall time (CPU and waiting)" in done.stderr
    assert "ncalls are CPU samples, not calls" in done.stderr

    def times(name: str) -> dict[str, tuple[float, float]]:
        stats: Any = pstats.Stats(str(tmp_path / name))
        # The interpreter's start has a function `main` as well.
        ours = ((key, value) for key, value in stats.stats.items() if key[0] == "~" or key[0].endswith("app.py"))
        rows = {function: value[2:4] for (_, _, function), value in ours}
        return rows | {"all": (sum(value[2] for value in stats.stats.values()), 0.0)}

    wall = times("app.pstats")
    assert wall["wait"] == pytest.approx((waited, waited), abs=0.06)
    assert wall["query"] == pytest.approx((0.0, waited), abs=0.06)
    assert wall["main"][1] > waited + 0.1
    root = "<rscalene: wall seconds (CPU and waiting) of all threads; ncalls are CPU samples, not calls>"
    assert wall[root][1] == pytest.approx(wall["all"][0])
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
    of_the_def = sum(cpu(line) for line in inside if line["line"] == 1)
    assert of_the_def < 0.05 * sum(map(cpu, inside))
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


COLLECTS = """import gc, time
keep = []
class Node: pass
for _ in range(300_000):
    node = Node(); node.me = node; keep.append(node)
gc.collect()
took, began = 0.0, 0.0
def clock(phase, info):
    global took, began
    if phase == "start": began = time.thread_time()
    else: took += time.thread_time() - began
gc.callbacks.append(clock)
def work():
    end = time.thread_time() + 0.5
    while time.thread_time() < end: sum(range(1000))
def collects():
    gc.collect()  # collects
def main():
    work()
    for _ in range(8): collects()
"""


def collected(profile: dict[str, Any]) -> dict[str, float]:
    """Seconds in the collector, by function."""
    sums: dict[str, float] = {}
    for line in lines(profile):
        sums[line["function"]] = sums.get(line["function"], 0.0) + (line.get("gc_s") or 0.0)
    return sums


def test_the_collectors_time_is_on_the_interrupted_line(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(COLLECTS + "main()\nprint(took)\n")
    done = rscalene("run", "--cpu-only", "-o", "app.json", "app.py")
    took = float(done.stdout)
    profile = json.loads((tmp_path / "app.json").read_text())
    sums = collected(profile)
    assert sums["collects"] == pytest.approx(took, abs=0.05 + 0.15 * took)
    assert sums.get("work", 0.0) < 0.03
    (line,) = [line for line in lines(profile) if "# collects" in (line["source"] or "")]
    assert line["gc_s"] <= cpu(line) + 1e-9
    assert profile["totals"]["gc_s"] >= line["gc_s"]
    table = rscalene("view", "--color", "never", "--width", "160", "app.json").stdout
    assert "in the garbage collector" in table
    assert " GC " in rscalene("view", "--color", "never", "--width", "200", "app.json").stdout


def test_a_profilers_lines_have_the_collectors_time(python: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        COLLECTS + "import rscalene\nwith rscalene.Profiler(memory=False) as profiler:\n    main()\n"
        "print(took)\nprint(profiler.result().to_json())\n"
    )
    took, profile = python("app.py").stdout.split("\n", 1)
    sums = collected(json.loads(profile))
    assert sums["collects"] == pytest.approx(float(took), abs=0.08 + 0.2 * float(took))
    assert sums.get("work", 0.0) < 0.05


TASKS = """import asyncio, sys
async def short(): await asyncio.sleep(0.6)  # short
async def middle(): await asyncio.sleep(1.2)  # middle
async def long(): await asyncio.sleep(3)  # long
async def main():
    await asyncio.gather(*(short() for _ in range(125)), *(middle() for _ in range(75)), *(long() for _ in range(50)))
asyncio.run(main())
"""


@pytest.mark.timed
def test_many_tasks_divide_an_idle_loop_as_all_of_them_would(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(TASKS)
    done = rscalene("run", "-q", "-o", "app.json", "app.py")
    assert done.returncode == 0, done.stderr
    profile = json.loads((tmp_path / "app.json").read_text())
    of = {
        name: sum(line["wait_s"] or 0.0 for line in lines(profile) if f"# {name}" in (line["source"] or ""))
        for name in ("short", "middle", "long")
    }
    # While k tasks wait, each has 1/k of the time: 0.6 s among all, 0.6 s among half of them, 1.8 s among the long.
    whole = sum(of.values())
    for name, share in (("short", 0.15), ("middle", 0.09 + 0.18), ("long", 0.06 + 0.12 + 0.9)):
        assert of[name] / whole == pytest.approx(share / 1.5, abs=0.05), of


KERNEL = """import json, sys
def murmur2(text, seed=0xC70F6907):  # as ipykernel names a cell
    data, m = text.encode(), 0x5BD1E995
    h, whole = seed ^ len(data), len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at:at + 4], "little") * m & 0xFFFFFFFF
        k = (k ^ k >> 24) * m & 0xFFFFFFFF
        h = h * m & 0xFFFFFFFF ^ k
    if data[whole:]:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return h ^ h >> 15
for cell in json.load(open(sys.argv[1]))["cells"]:
    exec(compile(cell["source"], f"/tmp/ipykernel_77/{murmur2(cell['source'])}.py", "exec"))
"""


def test_the_cells_of_a_notebook_on_the_command_line_have_their_number_and_text(rscalene: Run, tmp_path: Path) -> None:
    burn = "end = time.process_time() + 0.3\nwhile time.process_time() < end: pass  # burns"
    cells = [{"cell_type": "code", "source": text} for text in ("import time", burn)]
    (tmp_path / "report.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "kernel.py").write_text(KERNEL)
    done = rscalene("run", "--cpu-only", "-o", "app.json", "kernel.py", "report.ipynb")
    assert done.returncode == 0, done.stderr
    profile = json.loads((tmp_path / "app.json").read_text())
    assert f"{tmp_path}/report.ipynb[2]" in [file["path"] for file in profile["files"]]
    hottest = max(lines(profile), key=cpu)
    assert hottest["source"] == "while time.process_time() < end: pass  # burns"
    assert "report.ipynb[2]:2" in rscalene("view", "--color", "never", "--width", "140", "app.json").stdout
