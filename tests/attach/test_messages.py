"""What is said where a process cannot be observed: the reason, one thing to do, exit code 4, and no backtrace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Start

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = [("attach", "-d", "0.1s"), ("top", "--once", "-d", "0.1s"), ("dump",)]


def refused(answer: subprocess.CompletedProcess[str], *words: str) -> None:
    assert answer.returncode == 4, answer.stderr
    assert all(word in answer.stderr for word in words), answer.stderr
    assert "\nhint: " in answer.stderr
    assert "panicked" not in answer.stderr
    assert answer.stderr.count("\n") == 2


@pytest.fixture(params=COMMANDS, ids=lambda command: command[0])
def look(request: pytest.FixtureRequest, rscalene: Run) -> Run:
    """Look at a process by each command that can."""
    command, *options = request.param
    return lambda pid, **more: rscalene(command, str(pid), *options, **more)


def test_a_process_that_does_not_exist(look: Run) -> None:
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    refused(look(int(ended.stdout)), f"there is no process {ended.stdout.strip()}", "pgrep -af python")


def test_a_zombie(look: Run) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    refused(look(child), f"process {child} is a zombie")
    os.waitpid(child, 0)


def test_a_program_without_python(look: Run) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        refused(look(sleeper.pid), f"process {sleeper.pid} (sleep) runs no Python")
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_shell_names_its_python(look: Run) -> None:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    shell = subprocess.Popen(["sh", "-c", f'{sys.executable} -c "{code}"; true'], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    shell.stdout.readline()
    children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    try:
        refused(look(shell.pid), "runs no Python", f"it has started Python as process {children[0]}")
    finally:
        os.kill(int(children[0]), 9)
        shell.communicate()


def test_a_thread(look: Run, start: Start) -> None:
    code = "import threading, sys\nthreading.Thread(target=sys.stdin.read).start()\nprint('ready', flush=True)\n"
    program = start(code=code)
    thread = next(tid for tid in os.listdir(f"/proc/{program.pid}/task") if int(tid) != program.pid)
    refused(look(thread), f"{thread} is a thread of process {program.pid}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user(look: Run, start: Start) -> None:
    program = start(code="import sys\nprint('ready', flush=True)\nsys.stdin.read()\n")
    answer = look(program.pid, prefix=("setpriv", "--reuid", "65534", "--clear-groups"))
    if "Permission denied" in answer.stderr and "rscalene" not in answer.stderr:
        pytest.skip("the interpreter lies where only root may read")
    refused(answer, f"process {program.pid} belongs to another user", "sudo rscalene")


def test_meaningless_arguments_are_refused(rscalene: Run) -> None:
    assert rscalene("attach", "app.py").returncode == 2
    assert rscalene("attach").returncode == 2
    assert rscalene("attach", "1", "-d", "-1s").returncode == 2
