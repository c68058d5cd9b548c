"""The right figure on the right line: laws of what is said and ranked first, each on a small program of its own."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from rscalene import load

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Record(Protocol):
    """Runs a program and reads its profile."""

    def __call__(self, source: str, *options: str) -> dict[str, Any]: ...


@pytest.fixture
def record(rscalene: Run, tmp_path: Path) -> Record:
    """The profile of a program, which is left in ``profile.json``."""

    def run(source: str, *options: str) -> dict[str, Any]:
        (tmp_path / "app.py").write_text(source)
        done = rscalene("run", "-q", "-o", "profile.json", *options, "app.py")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "profile.json").read_text())  # type: ignore[no-any-return]

    return run


@pytest.fixture
def view(rscalene: Run) -> Callable[..., str]:
    """The report of the last profile as text."""

    def run(*options: str) -> str:
        return rscalene("view", "--color", "never", "--width", "140", *options, "profile.json").stdout

    return run


def cpu(times: dict[str, Any]) -> float:
    """CPU seconds of all kinds."""
    return sum(times.get(key) or 0.0 for key in ("python_s", "native_s", "helpers_s", "system_s", "user_s"))


def line(profile: dict[str, Any], source: str) -> dict[str, Any]:
    """The line with this text."""
    found = [row for file in profile["files"] for row in file["lines"] if source in (row["source"] or "")]
    (row,) = found
    return dict(row)


def hottest(profile: dict[str, Any]) -> str:
    """The text of the line with the most CPU time."""
    return str(max((row for file in profile["files"] for row in file["lines"]), key=cpu)["source"]).strip()


STEPS = """import time
end = time.process_time() + 1.2
while time.process_time() < end:
    sum(range(2000))  # works
"""


def test_a_profile_that_is_cut_off_holds_the_stretch_alone(record: Record, view: Callable[..., str]) -> None:
    profile = record(STEPS, "--duration", "500ms")
    clock, totals = profile["clock"], profile["totals"]
    assert 0.45 < clock["elapsed_s"] < 0.9
    assert clock["program_s"] > 1.1
    assert cpu(totals) <= clock["elapsed_s"] * 1.05
    assert totals["system_s"] < 0.5 * cpu(totals)
    assert all(at <= clock["elapsed_s"] + 0.05 for at, _ in profile["timeline"]["rss"])
    assert "profiled the first" in view().splitlines()[2]


def test_a_stretch_too_short_for_python_to_start_gives_a_notice(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("print('ran')\n")
    done = rscalene("run", "--duration", "1us", "app.py")
    assert done.stdout == "ran\n"
    # A machine that is slow to cut lets Python begin.
    assert "no Python was at work" in done.stderr or "profiled the first" in done.stderr
    assert "hint:" in done.stderr or "profiled the first" in done.stderr


IDLE = """import queue, socket, threading, time
from concurrent.futures import ThreadPoolExecutor
jobs = queue.Queue()
def work():
    while jobs.get() is not None:  # worker
        pass
def burn():
    end = time.thread_time() + 0.4
    while time.thread_time() < end:
        sum(range(3000))  # hot
def accept():
    try:
        server.accept()  # server
    except OSError:
        pass
server = socket.create_server(("127.0.0.1", 0))
idle = [threading.Thread(target=work) for _ in range(3)] + [threading.Thread(target=accept, daemon=True)]
for thread in idle:
    thread.start()
with ThreadPoolExecutor(2) as pool:
    future = pool.submit(burn)
    future.result()  # result
busy = threading.Thread(target=burn)
busy.start()
busy.join()  # join
time.sleep(0.3)  # answer
for _ in range(3):
    jobs.put(None)
"""


def test_idle_is_not_hot_and_only_waiting_for_an_answer_is_waiting(
    rscalene: Run, record: Record, view: Callable[..., str], tmp_path: Path
) -> None:
    profile = record(IDLE)
    assert hottest(profile) == "sum(range(3000))  # hot"
    for mark in ("# worker", "# server", "# result", "# join"):
        row = line(profile, mark)
        assert row["idle_s"] == pytest.approx(row["wait_s"], abs=0.02), mark
        assert row["wait_s"] > 0.3, mark
    answer = line(profile, "# answer")
    assert answer["wait_s"] == pytest.approx(0.3, abs=0.1)
    assert (answer.get("idle_s") or 0) < 0.01
    text = view("--full")
    waits = text[text.index(" waits ") :]
    assert waits.index(f"app.py:{answer['line']}") < waits.index("idle, waiting for work")
    page = tmp_path / "page.html"
    rscalene("view", "-o", page.name, "profile.json")
    cards = page.read_text().split('class="cards"')[1].split("</ul>")[0]
    hot, wait = cards.split("Hottest line")[1], cards.split("Longest wait")[1]
    assert "# hot" in hot.split("</li>")[0]
    assert "# answer" in wait.split("</li>")[0]


def test_few_samples_give_a_notice_and_no_samples_give_no_kind(record: Record, view: Callable[..., str]) -> None:
    profile = record("x = 1\n", "--interval", "20ms")
    assert profile["totals"]["cpu_samples"] < 20
    assert "too few" in view()
    for row in (row for file in profile["files"] for row in file["lines"]):
        assert row["cpu_samples"] > 0 or cpu(row) == 0
    assert not profile["totals"]["native_s"] or profile["totals"]["cpu_samples"] > 0


def test_a_thread_with_few_samples_has_no_share_of_a_line(record: Record) -> None:
    source = "import threading, time\ndef f():\n    time.sleep(0.05)  # short\n"
    profile = record(source + "for _ in range(4):\n    t = threading.Thread(target=f); t.start(); t.join()\n")
    shares = line(profile, "# short")["by_thread"]
    assert shares
    assert all(share["python_s"] is share["native_s"] is None for share in shares)


CROWD = """import os, time
children = 2 * len(os.sched_getaffinity(0))
for _ in range(children):
    if os.fork() == 0:
        end = time.process_time() + 0.5
        while time.process_time() < end: sum(range(1000))
        os._exit(0)
for _ in range(children): os.wait()
"""


def test_time_without_a_core_is_reported_and_is_no_wait(record: Record, view: Callable[..., str]) -> None:
    profile = record(CROWD)
    children = [row for row in profile["processes"] if cpu(row) > 0.3]
    assert len(children) > 1
    assert sum(row["core_wait_s"] for row in children) > 0.5
    assert sum((row["wait_s"] or 0) for row in children) < 0.5
    assert profile["totals"]["core_wait_s"] >= sum(row["core_wait_s"] for row in children) - 1e-6
    assert "no core was free" in view()


def test_a_command_that_runs_the_code_of_others_is_no_line(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import time\ndef test_work():\n    end = time.process_time() + 0.4\n"
        "    while time.process_time() < end:\n        sum(range(2000))  # hot\n"
    )
    command = Path(sys.executable).with_name("pytest")
    rscalene("run", "-q", "-o", "profile.json", str(command), "-q", "-p", "no:cacheprovider", "test_it.py")
    profile = json.loads((tmp_path / "profile.json").read_text())
    assert hottest(profile) == "sum(range(2000))  # hot"
    paths = [file["path"] for file in profile["files"] if file["lines"]]
    assert not [path for path in paths if "site-packages" in path or "/bin/" in path]


#: Programs whose hottest line and owner of the peak are of many kinds.
AGREEING = {
    "loop": "kept = bytearray(30_000_000)\nfor i in range(2_000_000):\n    i * i\n",
    "both": "kept = [i for i in range(1_500_000)]\n",
    "library": "import json\nrows = [{'n': i} for i in range(60_000)]\nfor _ in '123':\n    s = json.dumps(rows)\n",
    "native": "import hashlib\nblock = bytes(40_000_000)\nfor _ in range(4):\n    hashlib.sha256(block).digest()\n",
    "freed": "for size in (40, 10):\n    block = bytearray(size << 20)\nfor i in range(1_500_000):\n    i + i\n",
    "nested": "def f(n):\n    return [j * 2 for j in range(n)]\nkept = [f(20_000) for _ in range(40)]\n",
    "sleeps": "import time\nkept = bytearray(20_000_000)\ntime.sleep(0.3)\nx = sum(i * i for i in range(900_000))\n",
    "threads": (
        "import threading\ndef work():\n    return [i * i for i in range(500_000)]\n"
        "ts = [threading.Thread(target=work) for _ in range(3)]\n[t.start() for t in ts]\n[t.join() for t in ts]\n"
    ),
    "children": (
        "import os\nkept = bytearray(20_000_000)\nif os.fork():\n    os.wait()\n"
        "else:\n    sum(i * i for i in range(900_000))\n"
    ),
    "system": "zeros = open('/dev/zero', 'rb')\nkept = []\nfor _ in range(60):\n    kept.append(zeros.read(1 << 20))\n",
    "strings": "text = ''.join(map(str, range(400_000)))\nwords = {text[i : i + 6] for i in range(500_000)}\n",
    "nothing": "pass\n",
}


@pytest.mark.parametrize("program", AGREEING)
def test_terminal_page_and_notebook_name_the_same_line_and_the_same_owner(
    program: str, record: Record, view: Callable[..., str], rscalene: Run, tmp_path: Path
) -> None:
    record(AGREEING[program])
    *_, slowest, memory = view().strip().splitlines()
    rscalene("view", "profile.json", "-o", "page.html")
    page = (tmp_path / "page.html").read_text()
    notebook = load(tmp_path / "profile.json")._repr_mimebundle_()["text/html"]
    for said, label, card in ((slowest, "slowest:", "card hottest"), (memory, "most memory:", "card peak")):
        assert said.startswith(label)
        place = re.match(r"app\.py:\d+", said.removeprefix(label).strip())
        (shown,) = re.findall(rf'<li class="{card}.*?</li>', page, re.S)
        assert re.findall(r">(app\.py:\d+)<", shown) == ([place[0]] if place else []), (said, shown)
        (first,) = re.findall(rf"<b[^>]*>{label}</b> (.*?)</p>", notebook)
        assert html.unescape(first) == said.removeprefix(label).strip()


UNTOUCHED = """import mmap, time
def virtual():
    block = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # asked for
    zeros = bytes(100 << 20)  # zeros
    time.sleep(0.15)
    return len(block)
def real():
    block = bytearray(120 << 20)  # asked for, and
    block[::4096] = b"x" * len(block[::4096])  # touched
    time.sleep(0.2)
    return len(block)
kept = bytes(40 << 20)  # kept, untouched
virtual()
real()
"""


def test_the_peak_is_the_footprint_s_and_untouched_memory_owns_none_of_it(
    record: Record, view: Callable[..., str]
) -> None:
    profile = record(UNTOUCHED)
    totals = profile["totals"]
    assert line(profile, "# asked for, and")["peak_bytes"] == pytest.approx(120 << 20, rel=0.02)
    for other in ("mmap.mmap(", "# zeros", "# kept, untouched"):
        assert line(profile, other)["peak_bytes"] < 1 << 20
    assert totals["untouched_peak_bytes"] == pytest.approx(40 << 20, rel=0.05)
    assert totals["tracked_peak_bytes"] < totals["footprint_peak_bytes"] < 160 << 20
    # The three blocks, and the interpreter's own small objects, which are estimated.
    assert totals["most_allocated_bytes"] == pytest.approx(340 << 20, rel=0.01)
    assert re.search(r"most allocated at any moment 34\d MiB", view("--full"))


RESERVED = """import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
reserved = libc.mmap(None, 1 << 30, 3, 0x4022, -1, 0)  # reserved
ctypes.memset(reserved, 1, 24 << 20)
import time; time.sleep(0.3)
"""


def test_what_is_mapped_without_reserve_counts_as_it_is_touched(record: Record) -> None:
    memory = line(record(RESERVED), "# reserved")
    for key in ("alloc_bytes", "live_bytes", "peak_bytes"):
        assert memory[key] == pytest.approx(24 << 20, rel=0.05), key


BRIEF = """import time
def first():
    block = b"x" * (60 << 20)  # first
    time.sleep(0.1)
def second():
    block = b"x" * (90 << 20)  # second
first()
second()
time.sleep(0.1)
"""


def test_a_peak_of_milliseconds_is_shown_with_its_line(record: Record) -> None:
    profile = record(BRIEF)
    assert line(profile, "# second")["peak_bytes"] == pytest.approx(90 << 20, rel=0.02)
    assert line(profile, "# first")["peak_bytes"] == 0


FORKS = """import os, time
held = bytearray(200 << 20)  # held
for at in range(0, len(held), 4096): held[at] = 1
children = []
for _ in range(6):
    child = os.fork()
    if child == 0:
        time.sleep(0.6)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


def test_pages_that_forked_processes_share_count_once(record: Record, view: Callable[..., str]) -> None:
    profile = record(FORKS)
    assert 200 << 20 < profile["totals"]["footprint_peak_bytes"] < 300 << 20
    assert max(bytes for _, bytes in profile["timeline"]["rss"]) < 300 << 20
    assert line(profile, "# held")["peak_bytes"] == pytest.approx(200 << 20, rel=0.01)
    assert "GiB" not in view("--full")
