"""Programs of another user, or of a user namespace of their own, are profiled like any other."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NOBODY = 65534
SUPPORTED = range(11, 16)
WORK = """\
import os, sys, time
def work():
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
kept = bytearray(30_000_000)
work()
if os.fork() == 0:
    work()
    os._exit(0)
os.wait()
print(os.getuid())
"""


def is_open(path: Path) -> bool:
    """May every user run the file?"""
    real = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in [real, *real.parents])


def interpreter() -> str:
    """An interpreter that every user may run."""
    for path in (Path(sys.executable), Path("/usr/bin/python3")):
        if path.exists() and is_open(path):
            version = subprocess.run([path, "-c", "import sys; print(sys.version_info[1])"], capture_output=True)
            if int(version.stdout) in SUPPORTED:
                return str(path)
    pytest.fail("no interpreter lies where every user may run it")


BECOMES = [
    pytest.param(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"], id="setpriv"),
    pytest.param(["runuser", "-u", "nobody", "--"], id="runuser"),
    pytest.param(["chroot", f"--userspec={NOBODY}:{NOBODY}", "/"], id="chroot"),
]


@pytest.mark.parametrize("become", BECOMES)
def test_a_program_of_another_user_and_its_children_have_their_lines(
    rscalene: Run, tmp_path: Path, become: list[str]
) -> None:
    if os.geteuid() != 0:
        pytest.fail("only root may run programs of another user: run these tests as root")
    result = rscalene("run", "-q", "-o", "out.json", *become, interpreter(), "-c", WORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{NOBODY}\n", "")
    check(tmp_path / "out.json")


def test_a_child_that_python_starts_as_another_user_has_its_lines(rscalene: Run, tmp_path: Path) -> None:
    start = (
        f"import subprocess, sys; subprocess.run([{interpreter()!r}, '-c', sys.argv[1]], user={NOBODY}, group={NOBODY})"
    )
    result = rscalene("run", "-q", "-o", "out.json", "-c", start, WORK)
    assert (result.stdout, result.stderr) == (f"{NOBODY}\n", "")
    check(tmp_path / "out.json")


def test_a_program_in_a_user_namespace_and_its_children_have_their_lines(rscalene: Run, tmp_path: Path) -> None:
    result = rscalene("run", "-q", "-o", "out.json", "unshare", "-Ur", sys.executable, "-c", WORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")
    check(tmp_path / "out.json")


def cpu(row: dict[str, Any]) -> float:
    """CPU seconds of a process or a line."""
    return sum(row[key] or 0 for key in ("python_s", "native_s", "system_s"))


def check(path: Path) -> None:
    """Each of the two processes worked for 0.3 s on its lines; the first allocated 30 MB."""
    profile = json.loads(path.read_text())
    parent, child = (process for process in profile["processes"] if cpu(process) > 0.15)
    assert child["parent"] == parent["pid"]
    for process in (parent, child):
        assert cpu(process) == pytest.approx(0.33, abs=0.12)
    lines = [line for file in profile["files"] for line in file["lines"]]
    assert max(line["alloc_bytes"] or 0 for line in lines) == pytest.approx(30_000_000, rel=0.01)
    busy = sum(cpu(line) for line in lines if (line["source"] or "").strip().startswith("while"))
    assert busy == pytest.approx(0.6, abs=0.12)


def test_a_program_that_cannot_be_reached_is_named_with_the_reason(rscalene: Run) -> None:
    result = rscalene("run", "unshare", "-Urn", sys.executable, "-c", WORK)
    assert result.stdout == "0\n"
    assert "Python ran in a sandbox or container of its own" in result.stderr
