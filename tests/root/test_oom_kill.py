"""The kernel kills a program for want of memory: `make test-root` (it makes a cgroup, which takes root)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workload import WORK

Run = Callable[..., "subprocess.CompletedProcess[str]"]

MOST = 96 << 20

# Fills the memory that there is on one line, until the end.
FILLING = """
work()
print("begun", flush=True)
kept = []
while True:
    kept.append(bytearray(b"x") * 500_009)  # the line that fills
    time.sleep(0.002)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup with little memory, of either version."""
    root = Path("/sys/fs/cgroup")
    if (root / "memory").is_dir():
        parent, most, swap = root / "memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    else:
        parent, most, swap = root, "memory.max", "memory.swap.max"
        (root / "cgroup.subtree_control").write_text("+memory")
    made = parent / f"rscalene-test-{os.getpid()}"
    made.mkdir()
    try:
        (made / most).write_text(str(MOST))
        if (made / swap).exists():
            (made / swap).write_text(str(MOST if "memsw" in swap else 0))
        yield made
    finally:
        made.rmdir()


def test_who_filled_a_cgroup_is_known_after_the_kernel_killed_it(group: Path, rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(WORK + FILLING)
    line = 1 + (WORK + FILLING).splitlines().index('    kept.append(bytearray(b"x") * 500_009)  # the line that fills')
    # As in a container: the launcher is in it, too, and is not the one that is killed.
    enter = ["sh", "-c", f"echo $$ >'{group}/cgroup.procs' && exec \"$@\"", "sh"]
    result = rscalene("run", "-q", "-o", "out.json", "app.py", prefix=enter)
    assert (result.returncode, result.stdout) == (128 + signal.SIGKILL, "begun\n")
    profile = json.loads((tmp_path / "out.json").read_text())
    assert profile["target"]["exit"] == {"code": None, "signal": signal.SIGKILL}
    (near,) = profile["near_limits"]
    assert (near["limit"], near["limit_bytes"]) == ("cgroup", MOST)
    assert MOST * 0.9 <= near["used_bytes"] <= MOST
    owner = near["lines"][0]
    assert (Path(profile["files"][owner["file"]]["path"]).name, owner["line"]) == ("app.py", line)
    assert owner["live_bytes"] > MOST / 2
