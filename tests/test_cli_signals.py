"""Signals reach the program once, nothing is orphaned, and the report comes however the program ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Says that it is ready, counts what it gets, and ends with what it got.
COUNTING = """\
import os, signal, sys, time
got = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: got.append(number))
print(os.getpid(), flush=True)
end = time.monotonic() + 30
while not got and time.monotonic() < end:
    time.sleep(0.02)
time.sleep(0.3)
print([signal.Signals(number).name for number in got], flush=True)
sys.exit(20 + len(got))
"""
WAITING = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"


class Running:
    """A program under ``rscalene run``, in a process group of its own."""

    def __init__(self, folder: Path, env: dict[str, str], source: str) -> None:
        (folder / "app.py").write_text(source)
        self.profile = folder / "out.json"
        command = [sys.executable, "-m", "rscalene", "run", "-o", str(self.profile), "app.py"]
        self.launcher = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
        )
        assert self.launcher.stdout is not None
        self.child = int(self.launcher.stdout.readline())

    def end(self) -> tuple[int, str]:
        out, _ = self.launcher.communicate(timeout=30)
        return self.launcher.returncode, out

    def exit(self) -> dict[str, object]:
        profile = json.loads(self.profile.read_text())
        found: dict[str, object] = profile["target"]["exit"]
        return found


@pytest.fixture
def start(tmp_path: Path, clean_env: dict[str, str]) -> Iterator[object]:
    running: list[Running] = []

    def begin(source: str) -> Running:
        running.append(Running(tmp_path, clean_env, source))
        return running[-1]

    yield begin
    for one in running:
        for pid in (one.child, one.launcher.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        one.launcher.communicate()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_signal_to_the_launcher_alone_reaches_the_program_once(start, name: str) -> None:  # type: ignore[no-untyped-def]
    running = start(COUNTING)
    running.launcher.send_signal(signal.Signals[name])
    assert running.end() == (21, f"['{name}']\n")
    assert running.exit() == {"code": 21, "signal": None}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV"])
def test_the_report_comes_when_a_signal_ends_the_program(start, name: str) -> None:  # type: ignore[no-untyped-def]
    running = start(WAITING)
    os.kill(running.child, signal.Signals[name])
    code, _ = running.end()
    assert code == 128 + signal.Signals[name]
    assert running.exit() == {"code": None, "signal": int(signal.Signals[name])}


def test_a_signal_to_the_launcher_ends_both_and_orphans_nothing(start) -> None:  # type: ignore[no-untyped-def]
    running = start(WAITING)
    running.launcher.send_signal(signal.SIGTERM)
    code, _ = running.end()
    assert code == 128 + signal.SIGTERM
    assert not is_alive(running.child)


def test_a_signal_to_the_group_ends_both_with_a_report(start) -> None:  # type: ignore[no-untyped-def]
    running = start(WAITING)
    os.killpg(running.launcher.pid, signal.SIGTERM)
    code, _ = running.end()
    assert code == 128 + signal.SIGTERM
    assert not is_alive(running.child)
    assert running.exit()["signal"] == signal.SIGTERM


def test_a_killed_launcher_leaves_the_program_running(start) -> None:  # type: ignore[no-untyped-def]
    running = start(COUNTING)
    running.launcher.kill()
    running.launcher.wait(timeout=10)
    time.sleep(0.1)
    assert is_alive(running.child)
    os.kill(running.child, signal.SIGUSR1)
    assert running.launcher.stdout is not None
    assert running.launcher.stdout.readline() == "['SIGUSR1']\n"


def test_timeout_ends_the_program_and_keeps_the_profile(tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text("while True: pass\n")
    command = ["timeout", "2", sys.executable, "-m", "rscalene", "run", "-o", "out.json", "app.py"]
    result = subprocess.run(command, cwd=tmp_path, env=clean_env, capture_output=True, check=False, timeout=30)
    assert result.returncode == 124
    assert json.loads((tmp_path / "out.json").read_text())["target"]["exit"]["signal"] == signal.SIGTERM


def test_ignored_signals_stay_ignored(tmp_path: Path, clean_env: dict[str, str]) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    command = ["nohup", sys.executable, "-m", "rscalene", "run", "-q", "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=clean_env, capture_output=True, text=True, check=False)
    assert result.stdout == "True\n"
