"""What a killed launcher had seen is not lost, and nobody else gets to see it."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Says "ready" after 1.5 s of CPU time, of which most on line 5, and works on a little after its launcher is gone.
SOURCE = """\
import os, sys, time
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))
kept = bytearray(31_000_003)
work(1.5)
time.sleep(0.7)
print("ready", flush=True)
sys.stdin.readline()
work(0.2)
print("end", flush=True)
sys.exit(7)
"""
HOT = 5


@pytest.fixture
def state(tmp_path: Path, clean_env: dict[str, str]) -> Path:
    """A place for captures that this test has for itself."""
    clean_env["XDG_STATE_HOME"] = str(tmp_path / "state")
    return tmp_path / "state" / "rscalene"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, plain_env: dict[str, str]) -> Path:
    """The capture of a launcher that was killed; its program did its work to the end."""
    folder = tmp_path_factory.mktemp("left")
    (folder / "app.py").write_text(SOURCE)
    command = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", "app.py"]
    env = plain_env | {"XDG_STATE_HOME": str(folder)}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        ready, end = time.time(), time.monotonic() + 30
        (capture,) = (folder / "rscalene").iterdir()
        # Written every second, so the second time after now it has all that the program had done by now.
        for _ in range(2):
            while capture.stat().st_mtime <= ready and time.monotonic() < end:
                time.sleep(0.05)
            ready = capture.stat().st_mtime
        launcher.kill()
        launcher.wait()
        launcher.stdin.write("go\n")
        launcher.stdin.flush()
        assert launcher.stdout.read() == "end\n"
    assert not (folder / "out.json").exists()
    return capture


def test_the_report_of_a_killed_launcher_is_recovered(left: Path, state: Path, rscalene: Run, tmp_path: Path) -> None:
    state.parent.mkdir()
    state.symlink_to(left.parent)
    assert "there is nothing to recover" in rscalene("recover").stderr
    state.unlink()
    shutil.copytree(left.parent, state)
    state.chmod(0o700)
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert stat.S_IMODE(left.parent.stat().st_mode) == 0o700
    assert rscalene("recover", "-o", "back.json").returncode == 0
    profile: dict[str, Any] = json.loads((tmp_path / "back.json").read_text())
    assert profile["target"]["command"][-1] == "app.py"
    assert profile["target"]["exit"] == {"code": None, "signal": None}
    assert any("recovered" in notice["code"] for notice in profile["notices"])
    (file,) = [file for file in profile["files"] if file["path"].endswith("app.py")]
    times = {line["line"]: line["python_s"] + line["native_s"] for line in file["lines"]}
    assert max(times, key=lambda line: times[line]) == HOT
    assert sum(times.values()) == pytest.approx(1.5, abs=0.4)
    live = {line["line"]: line["live_bytes"] for line in file["lines"]}
    assert live[6] >= 31_000_003
    assert any(line["wait_s"] > 0.5 for line in file["lines"])

    # The same as a table, and by name; the capture stays until it is removed.
    table = rscalene("recover", left)
    assert table.returncode == 0
    assert "app.py" in table.stdout
    listed = rscalene("recover", "--list")
    assert str(state / left.name) in listed.stdout
    assert "left behind" in listed.stdout


def test_a_damaged_capture_gives_what_is_readable_up_to_the_damage(left: Path, rscalene: Run, tmp_path: Path) -> None:
    whole = left.read_bytes()
    seeded = random.Random(11)
    places = [*range(8, 24), *(seeded.randrange(24, len(whole)) for _ in range(6)), len(whole) - 1]
    for place in seeded.sample(places, 3):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :]):
            (tmp_path / "bad").write_bytes(damaged)
            result = rscalene("recover", "bad", "-o", "bad.json")
            if result.returncode == 0:
                notices = json.loads((tmp_path / "bad.json").read_text())["notices"]
                assert any("capture" in notice["text"] and "not in this report" in notice["text"] for notice in notices)
            else:
                assert result.returncode == 2
                assert "cannot read `bad`: it is damaged at its beginning\nhint: " in result.stderr


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is no capture of rscalene"),
        (b"\x7fELF" + bytes(100), "it is no capture of rscalene"),
        (b"rscapt99" + bytes(100), "another version of rscalene made it"),
        (b"rscapt03", "it is damaged at its beginning"),
        (b"rscapt03" + b"\xff" * 100, "it is damaged at its beginning"),
    ],
)
def test_other_files_than_captures_are_refused(
    state: Path, rscalene: Run, tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    result = rscalene("recover", "file")
    assert result.returncode == 2
    assert f"rscalene: cannot read `file`: {why}\nhint: " in result.stderr
    assert not state.exists()


def test_nothing_to_recover_gives_an_error(state: Path, rscalene: Run) -> None:
    result = rscalene("recover")
    assert result.returncode == 2
    assert f"there is nothing to recover in `{state}`" in result.stderr
    assert rscalene("recover", "missing").stderr.startswith("rscalene: cannot read `missing`: no such file\nhint: ")


def test_a_run_that_reports_leaves_nothing(state: Path, rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os\nprint(len(os.listdir(os.environ['XDG_STATE_HOME'] + '/rscalene')))\n")
    assert rscalene("run", "-q", "app.py").stdout == "1\n"
    assert list(state.iterdir()) == []
    assert rscalene("run", "-q", "--no-capture", "app.py").stdout == "0\n"


def test_a_report_that_cannot_be_written_leaves_the_capture(state: Path, rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("print(sum(range(10**6)))\n")
    (tmp_path / "full.json").symlink_to("/dev/full")
    result = rscalene("run", "-o", "full.json", "app.py")
    assert result.returncode == 4
    (capture,) = state.iterdir()
    assert f"rscalene recover {capture} -o FILE" in result.stderr
    assert rscalene("recover", capture, "-o", "again.json").returncode == 0
    profile = json.loads((tmp_path / "again.json").read_text())
    assert profile["target"]["python"] is not None


@pytest.mark.parametrize("trap", ["link", "open", "file"])
def test_a_capture_is_not_written_to_another_users_file(state: Path, rscalene: Run, tmp_path: Path, trap: str) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    state.parent.mkdir()
    if trap == "link":
        state.symlink_to(prepared)
    elif trap == "open":
        state.mkdir()
        state.chmod(0o777)
    else:
        state.write_text("in the way")
    (tmp_path / "app.py").write_text(
        f"import os\nprint(os.listdir({str(prepared)!r}), os.path.isdir({str(state)!r}) and os.listdir({str(state)!r}))"
    )
    result = rscalene("run", "-q", "app.py")
    assert result.returncode == 0
    assert result.stdout in ("[] []\n", "[] False\n")


def test_a_capture_that_cannot_grow_ends_and_nothing_else(
    state: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text("import argparse, time\ntime.sleep(1.5)\nprint(sum(range(10**6)))\n")
    # A pipe, which the limit on files does not touch.
    (tmp_path / "out.json").symlink_to("/proc/self/fd/2")
    words = f"ulimit -S -f 4; exec '{sys.executable}' -m rscalene run -q -o out.json app.py"
    result = subprocess.run(
        ["bash", "-c", words], cwd=tmp_path, env=clean_env, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "499999500000\n")
    notices = json.loads(result.stderr)["notices"]
    assert any(
        "the capture for `rscalene recover` is not complete: File too large" in notice["text"] for notice in notices
    )
    assert list(state.iterdir()) == []


def test_a_run_without_a_place_for_captures_goes_on(rscalene: Run, clean_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("print(sum(range(10**6)))\n")
    env = {**clean_env, "XDG_STATE_HOME": "/dev/null", "TMPDIR": "/dev/null"}
    result = rscalene("run", "-q", "app.py", env=env)
    assert (result.returncode, result.stdout, result.stderr) == (0, "499999500000\n", "")


def test_old_captures_do_not_pile_up(state: Path, rscalene: Run, tmp_path: Path) -> None:
    state.mkdir(parents=True, mode=0o700)
    for number in range(12):
        (state / f"{number}.capture").write_bytes(b"old")
        os.utime(state / f"{number}.capture", (time.time() - 100 + number,) * 2)
    (tmp_path / "app.py").write_text("pass\n")
    assert rscalene("run", "-q", "app.py").returncode == 0
    assert sorted(int(path.stem) for path in state.iterdir()) == list(range(4, 12))
