"""Labels under ``rscalene run``: costs of requests and tasks are told apart, whatever runs beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

SPIN = """
import asyncio, contextvars, threading, time
import rscalene

def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(200): pass
"""

BLOCKS = (
    SPIN
    + """
kept = []
def in_thread(task, seconds, size):
    with rscalene.label(task=task):
        kept.append(bytearray(size))
        bytearray(20_000_003)
        spin(seconds)

threads = [threading.Thread(target=in_thread, args=row) for row in (("long", 0.4, 30_000_001), ("short", 0.2, 1_003))]
for thread in threads: thread.start()
for thread in threads: thread.join()

async def child(seconds):
    for _ in range(10):
        spin(seconds / 10)
        await asyncio.sleep(0)

async def job(task, seconds):
    with rscalene.label(task=task):
        await asyncio.gather(child(seconds / 2), asyncio.to_thread(spin, seconds / 2))

async def jobs():
    await asyncio.gather(job("awaits long", 0.4), job("awaits short", 0.2))

asyncio.run(jobs())

@rscalene.label(task="outer")
def outer():
    spin(0.1)
    with rscalene.label(step="inner"):
        spin(0.2)

outer()
spin(0.2)
"""
)


def noise(seconds: float) -> float:
    """Four standard errors of a part of a thread's time, at samples of a millisecond, and what a busy machine adds."""
    return 4 * math.sqrt(seconds * 1e-3) + 0.02


def labels_of(profile: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {" ".join(f"{key}={value}" for key, value in row["labels"].items()): row for row in profile["labels"]}


#: The same program with a profiler of its own. Its labels begin with the first one, and count for later ones too.
BY_HAND = f"""
import rscalene
rscalene.Profiler(memory=False).start().stop()
profiler = rscalene.Profiler(interval=0.001).start()
{BLOCKS}
assert any(row["cpu_s"] > 0.1 for row in profiler.snapshot().to_dict()["labels"])
profiler.stop().save("run.json")
"""


@pytest.fixture(params=["rscalene run", "Profiler"])
def blocks(rscalene: Run, python: Run, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "Profiler":
        (tmp_path / "app.py").write_text(BY_HAND)
        ran = python("app.py")
    else:
        (tmp_path / "app.py").write_text(BLOCKS)
        ran = rscalene("run", "-q", "--interval", "1ms", "-o", "run.json", "app.py")
    assert ran.returncode == 0, ran.stderr
    profile: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    return profile


def test_each_label_has_the_time_and_memory_of_its_context(blocks: dict[str, Any], rscalene: Run) -> None:
    rows = labels_of(blocks)
    truth = {
        "task=long": 0.4,
        "task=short": 0.2,
        "task=awaits long": 0.4,
        "task=awaits short": 0.2,
        "task=outer": 0.1,
        "step=inner task=outer": 0.2,
    }
    assert rows.keys() == truth.keys()
    for name, seconds in truth.items():
        assert rows[name]["count"] == 1, name
        assert rows[name]["cpu_s"] == pytest.approx(seconds, abs=noise(seconds)), name
        assert rows[name]["median_s"] == pytest.approx(rows[name]["longest_s"], rel=0.01), name
    long, short = rows["task=long"], rows["task=short"]
    # The loop's own objects add up.
    assert 47_500_000 < long["alloc_bytes"] < 80_000_000
    assert long["kept_bytes"] == pytest.approx(30_000_001, rel=0.05)
    assert 19_000_000 < short["alloc_bytes"] < 40_000_000
    assert short["kept_bytes"] < 2_000_000
    # What no label covers is in no row.
    every = sum(blocks["totals"][key] for key in ("python_s", "native_s", "system_s"))
    assert sum(row["cpu_s"] for row in rows.values()) < every - 0.1
    text = (Path(blocks["target"]["cwd"]) / "app.py").read_text()
    line = text.splitlines().index("        kept.append(bytearray(size))") + 1
    assert {row["line"]: row["alloc_bytes"] for row in long["lines"]}[line] == pytest.approx(30_000_001, rel=0.05)


def test_text_and_page_show_labels(blocks: dict[str, Any], rscalene: Run, tmp_path: Path) -> None:
    shown = rscalene("view", "--full", "run.json")
    assert shown.returncode == 0, shown.stderr
    assert "Labels" in shown.stdout
    assert "task=awaits long" in shown.stdout
    assert rscalene("view", "-o", "run.html", "run.json").returncode == 0
    page = (tmp_path / "run.html").read_text()
    assert "<h3>Labels</h3>" in page
    assert "task=awaits long" in page


ROUTES = (
    SPIN
    + """
from rscalene.wsgi import ProfilerMiddleware

kept = []
burnt = {"/large": 0.0, "/small": 0.0}
def plain(environ, start_response):
    start_response("200 OK", [])
    began = time.thread_time()
    if environ["PATH_INFO"] == "/large":
        kept.append(bytearray(100 << 20))
    for _ in range(10):
        spin(0.02)
        yield b"part"
    burnt[environ["PATH_INFO"]] += time.thread_time() - began

app = ProfilerMiddleware(plain, stream=None, when=WHEN, lines=True, functions=False)

def ask(path, times):
    for _ in range(times):
        body = app({"PATH_INFO": path, "REQUEST_METHOD": "GET", "QUERY_STRING": ""}, lambda *_: None)
        list(body)
        body.close()

threads = [threading.Thread(target=ask, args=row) for row in (("/large", 1), ("/small", 3))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(burnt["/large"], burnt["/small"])
"""
)


@pytest.mark.parametrize("when", ["always", "never"])
def test_overlapping_routes_stay_separate_whether_requests_are_selected_or_not(
    rscalene: Run, tmp_path: Path, when: str
) -> None:
    (tmp_path / "app.py").write_text(ROUTES.replace("WHEN", repr(when)))
    ran = rscalene("run", "-q", "--interval", "1ms", "-o", "run.json", "app.py")
    assert (ran.returncode, ran.stderr) == (0, "")
    profile = json.loads((tmp_path / "run.json").read_text())
    rows = labels_of(profile)
    assert rows.keys() == {"method=GET route=/large", "method=GET route=/small"}
    large, small = rows["method=GET route=/large"], rows["method=GET route=/small"]
    assert (large["count"], small["count"]) == (1, 3)
    for row, burnt in zip((large, small), map(float, ran.stdout.split()), strict=True):
        assert row["cpu_s"] == pytest.approx(burnt, rel=0.1)
    # The first request imports what the middleware needs, and each one's lines are counted.
    assert 100 << 20 <= large["alloc_bytes"] < 140 << 20
    assert large["kept_bytes"] == pytest.approx(100 << 20, rel=0.02)
    assert small["alloc_bytes"] < 40 << 20
    assert small["kept_bytes"] < 2 << 20
    # Samples know what the clock knows.
    for row in (large, small):
        assert sum(line["cpu_s"] for line in row["lines"]) == pytest.approx(row["cpu_s"], abs=noise(row["cpu_s"]))
    shown = rscalene("view", "run.json").stdout
    assert "Routes" in shown
    assert "GET /large" in shown


AGAIN = (
    SPIN
    + """
import os
profiler = rscalene.Profiler(interval=0.001, memory=False).start()
with rscalene.label(task="first"):
    spin(0.1)
first = profiler.stop().result().to_dict()["labels"]
if os.fork() == 0:
    with rscalene.label(task="nobody's"):
        spin(0.01)
    os._exit(0)
os.wait()
profiler.start()
with rscalene.label(task="first"):
    spin(0.1)
    profiler.pause()
    spin(0.1)
    profiler.resume()
with rscalene.label(task="second"):
    spin(0.1)
again = profiler.stop().result().to_dict()["labels"]
for rows in (first, again):
    print(sorted((row["labels"]["task"], row["count"], round(row["cpu_s"] * 10)) for row in rows))
"""
)


def test_a_profiler_gets_labels_older_than_itself_and_none_of_a_pause(python: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(AGAIN)
    ran = python("app.py")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["[('first', 1, 1)]", "[('first', 1, 1), ('second', 1, 1)]"]


FORKS = (
    SPIN
    + """
import os
with rscalene.label(task="parent"):
    if os.fork() == 0:
        spin(0.2)
        with rscalene.label(task="child"):
            spin(0.2)
        os._exit(0)
    os.wait()
with rscalene.label(task="child"):
    spin(0.2)
"""
)


def test_labels_mean_the_same_in_a_forked_process(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FORKS)
    assert rscalene("run", "-q", "--interval", "1ms", "-o", "run.json", "app.py").returncode == 0
    rows = labels_of(json.loads((tmp_path / "run.json").read_text()))
    assert rows.keys() == {"task=parent", "task=child"}
    # The child ends its own block; the parent's it only inherits.
    assert {name: row["count"] for name, row in rows.items()} == {"task=parent": 1, "task=child": 2}
    assert rows["task=child"]["cpu_s"] == pytest.approx(0.4, abs=noise(0.4))
    # The fork itself takes time.
    assert 0.2 - noise(0.2) < rows["task=parent"]["cpu_s"] < 0.4


def test_a_label_outside_of_a_recording_changes_nothing(python: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import rscalene\n"
        "with rscalene.label(task='x') as block:\n"
        "    pass\n"
        "@rscalene.label(task='y')\n"
        "def double(n): return 2 * n\n"
        "print(double(21))\n"
        "try: rscalene.label()\n"
        "except TypeError as error: print(error)\n"
    )
    ran = python("app.py")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[:2] == ["42", "a label needs a key and a value"]
