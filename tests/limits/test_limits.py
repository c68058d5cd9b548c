"""What the launcher takes of large programs: a twentieth of a core on average, 200 MiB at most (`make test-limits`).

Each program is long enough that start and end do not decide. The figures are the launcher's own: its children are not
in them. Exact memory is another matter: each block is worked on, so its CPU time grows with the program's blocks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MOST_OF_A_CORE = 0.05
MOST_WHERE_NOTHING_REPEATS = 0.07
"""The same where every sample has a line and a stack of its own."""
MOST_BYTES = 200 << 20
PROCESS_S = 0.001
"""What one of many processes at once takes of the launcher beside that, however short it lives (0.1 to 0.6 ms here)."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

BLOCKS = """
import time
end = time.monotonic() + 12
while time.monotonic() < end:
    kept = [{"number": number, "text": str(number) * 3, "list": [number] * 4} for number in range(2_000)]
"""

THREADS_AT_ONCE = """
import threading, time
threading.stack_size(128 * 1024)
threads = [threading.Thread(target=time.sleep, args=(10,)) for _ in range(1_000)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

THREADS_IN_A_ROW = """
import threading, time
for number in range(10_000):
    thread = threading.Thread(target=time.sleep, args=(0.0012,))
    thread.start()
    thread.join()
"""

PROCESSES_AT_ONCE = """
import os, time
pids = []
for _ in range(900):
    pid = os.fork()
    if pid == 0:
        time.sleep(15)
        os._exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
"""

CHILDREN_AT_ONCE = """
import os
for _ in range(100):
    pids = []
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            sum(range(200_000))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
"""

# The same, sixty a second.
CHILDREN = CHILDREN_AT_ONCE.replace("import os", "import os, time") + "    time.sleep(0.13)\n"

# A gigabyte in a million blocks, and then short-lived ones.
HEAP = """
import time
kept = [bytes(1_000) for _ in range(1_000_000)]
end = time.monotonic() + 8
while time.monotonic() < end:
    rows = [bytes(600) for _ in range(1_000)]
"""

# 100,000 lines in 20 modules, every one of them as hot as the others.
LINES = """
import time
for number in range(20):
    with open(f"hot{number}.py", "w") as module:
        module.write("def run(x):\\n")
        module.writelines(f"    x = (x * 3 + {line}) % 1000003\\n" for line in range(5_000))
        module.write("    return x\\n")
modules = [__import__(f"hot{number}") for number in range(20)]
end = time.monotonic() + 15
while time.monotonic() < end:
    for module in modules:
        module.run(7)
"""


@dataclass
class Watched:
    """A run, and what its launcher took."""

    profile: dict[str, Any]
    wall_s: float
    cpu_s: float
    peak_bytes: int


def own(pid: int) -> tuple[float, int]:
    """CPU seconds of a process without its children, and its highest RSS in bytes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (int(fields[11]) + int(fields[12])) * TICK_S, int(status["VmHWM"].split()[0]) << 10


def watched(folder: Path, environ: dict[str, str], source: str, *flags: str) -> Watched:
    """Profile a program and watch its launcher."""
    (folder / "app.py").write_text(source)
    command = [sys.executable, "-m", "rscalene", "run", "-q", *flags, "-o", "out.json", "app.py"]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True) as launcher:
        figures: list[tuple[float, int]] = []

        def watch() -> None:
            # Until it is a zombie, which has no memory.
            while True:
                try:
                    figures.append(own(launcher.pid))
                except (KeyError, OSError):
                    return
                time.sleep(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, errors = launcher.communicate(timeout=200)
        wall = time.monotonic() - began
        watcher.join()
    assert launcher.returncode == 0, errors
    cpu_s, peak_bytes = figures[-1]
    print(f"{cpu_s / wall:.1%} of a core in {wall:.1f} s, {peak_bytes / (1 << 20):.0f} MiB")
    return Watched(json.loads((folder / "out.json").read_text()), wall, cpu_s, peak_bytes)


@pytest.mark.parametrize(
    "source",
    [BLOCKS, THREADS_AT_ONCE, THREADS_IN_A_ROW, PROCESSES_AT_ONCE, CHILDREN, CHILDREN_AT_ONCE, HEAP, LINES],
    ids=[
        "blocks",
        "threads_at_once",
        "threads_in_a_row",
        "processes_at_once",
        "children",
        "children_at_once",
        "heap",
        "lines",
    ],
)
def test_the_launcher_takes_little(tmp_path: Path, clean_env: dict[str, str], source: str) -> None:
    found = watched(tmp_path, clean_env, source)
    processes = len(found.profile["processes"])
    most = MOST_WHERE_NOTHING_REPEATS if source == LINES else MOST_OF_A_CORE
    more_s = PROCESS_S * processes if source in (PROCESSES_AT_ONCE, CHILDREN_AT_ONCE) else 0.0
    assert found.cpu_s <= most * found.wall_s + more_s
    assert found.peak_bytes <= MOST_BYTES
    # Bounded, and nothing dropped in silence: what was lost is counted, and here nothing is.
    assert found.profile["totals"]["lost_records"] == 0, found.profile["notices"]
    if source in (CHILDREN, CHILDREN_AT_ONCE):
        assert processes == 1_001
    if source == LINES:
        assert sum(len(file["lines"]) for file in found.profile["files"] if "hot" in file["path"]) > 10_000


def test_exact_memory_of_a_large_heap_is_held_in_bounds(tmp_path: Path, clean_env: dict[str, str]) -> None:
    found = watched(tmp_path, clean_env, HEAP, "--memory", "exact")
    assert found.peak_bytes <= MOST_BYTES
    assert found.profile["totals"]["lost_records"] == 0, found.profile["notices"]
