"""However a program ends, it ends as it would have without us, and what it did is in the profile."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workload import WORK, dropped, seconds

Alike = Callable[..., dict[str, Any]]

# Some work is done before the end comes.
BEGIN = f"{WORK}work()\n"
DEEP = "sys.setrecursionlimit(10**9)\ndef deep(one):\n    return sorted([one], key=deep)\ndeep(1)"


def cpu(profile: dict[str, Any]) -> float:
    """Seconds of CPU time that lines of the program were charged."""
    return sum(
        float(line["python_s"] + line["native_s"] + line["system_s"])
        for file in profile["files"]
        if file["path"].endswith("app.py")
        for line in file["lines"]
    )


@pytest.mark.parametrize(
    "end",
    [
        "sys.exit()",
        "sys.exit('text')",
        "sys.exit(-1)",
        "sys.exit(2 ** 70)",
        "sys.exit((1, 2))",
        "1 / 0",
        "os._exit(17)",
        "os.abort()",
        "threading.Thread(target=os._exit, args=(4,)).start(); time.sleep(30)",
        "import atexit; atexit.register(print, 'bye')",
        "os.close(1); print('to nobody')",
    ],
)
def test_an_end_of_its_own_keeps_code_output_and_profile(alike: Alike, end: str) -> None:
    assert cpu(alike(f"{BEGIN}\n{end}\n")) > 0.05


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGSEGV", "SIGBUS", "SIGTRAP"])
def test_a_deadly_signal_is_the_programs_own(alike: Alike, name: str) -> None:
    profile = alike(f"{BEGIN}\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\nos.kill(os.getpid(), signal.{name})\n")
    assert cpu(profile) > 0.05
    assert profile["target"]["exit"] == {"code": None, "signal": int(signal.Signals[name])}


FAULTS = {"null": "ctypes.string_at(0)"}
if sys.version_info < (3, 12):
    # Later interpreters may watch the C stack themselves: no crash, but an error that tells how much of it was used.
    FAULTS["stack"] = DEEP


@pytest.mark.parametrize("first", ["", "faulthandler.enable()"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_crash_is_the_programs_own(alike: Alike, first: str, fault: str) -> None:
    profile = alike(f"{BEGIN}\n{first}\n{fault}\n")
    assert profile["target"]["exit"] == {"code": None, "signal": signal.SIGSEGV}
    assert cpu(profile) > 0.05


def test_recursion_and_keyboard_interrupts_are_the_programs_own(alike: Alike) -> None:
    alike(f"{BEGIN}\ndef again():\n    again()\ntry:\n    again()\nexcept RecursionError as error:\n    print(error)\n")
    alike(f"{BEGIN}\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(1)\n")


def test_a_program_out_of_memory_can_go_on(alike: Alike) -> None:
    source = """
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
try:
    kept = [bytearray(1 << 20) for _ in range(10000)]
except MemoryError:
    print("out of memory")
work()
try:
    bytearray(1 << 60)
except MemoryError:
    print("never")
"""
    assert cpu(alike(BEGIN + source)) > 0.1


def test_a_limit_on_memory_that_was_there_before_leaves_room_for_both(alike: Alike) -> None:
    source = """
kept = [bytearray(300_000_007)]
try:
    while True:
        kept.append(bytearray(10_000_019))
except MemoryError:
    kept.clear()
    print("out of memory")
children = [os.fork() or (work(), os._exit(0)) for _ in range(3)]
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
    limited = ("sh", "-c", 'ulimit -v 1000000; exec "$@"', "sh")
    profile = alike(BEGIN + source, prefix=limited)
    assert len(profile["processes"]) == 4
    lines = {row["source"].strip(): row["alloc_bytes"] for file in profile["files"] for row in file["lines"]}
    assert lines["kept = [bytearray(300_000_007)]"] == pytest.approx(300_000_007, rel=0.001)
    assert lines["kept.append(bytearray(10_000_019))"] > 200_000_000


# Fills the memory that it may have, a MB at a time, mostly on one line; slowly, so that a busy machine sees it.
FILLING = """
resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
kept = []
statm = open("/proc/self/statm", "rb")
def fill(share):
    while statm.seek(0) or int(statm.read().split()[0]) < share * (600 << 8):
        kept.append(bytearray(1_000_003))
        time.sleep(0.002)
other = bytearray(40_000_003)
"""
FULL = 1 + f"{BEGIN}{FILLING}".splitlines().index("        kept.append(bytearray(1_000_003))")


@pytest.mark.parametrize(
    "end",
    [
        "try:\n    fill(2)\nexcept MemoryError:\n    size = len(kept)\n    kept.clear()\n    print(size > 300)",
        "fill(0.95)\ntime.sleep(0.3)\nos.kill(os.getpid(), signal.SIGKILL)",
    ],
    ids=["error", "killed"],
)
def test_who_held_the_memory_when_it_ran_out_is_known(alike: Alike, end: str) -> None:
    profile = alike(f"{BEGIN}{FILLING}\n{end}\n")
    (near,) = profile["near_limits"]
    assert near["limit"] == "address space"
    assert near["limit_bytes"] == 600 << 20
    assert near["limit_bytes"] * 0.9 <= near["used_bytes"] <= near["limit_bytes"]
    (file,) = [index for index, file in enumerate(profile["files"]) if file["path"].endswith("app.py")]
    first, second = near["lines"][:2]
    assert (first["file"], first["line"]) == (file, FULL)
    assert first["live_bytes"] > 300e6
    assert second["live_bytes"] == pytest.approx(40_000_003, rel=0.01)


def test_the_first_thread_may_end_before_the_others(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
threading.Thread(target=lambda: print(work(0.6), flush=True)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    )
    assert seconds(profile) == pytest.approx(0.6, abs=0.15)
    assert not dropped(profile)


def test_children_that_are_killed_keep_what_they_did(alike: Alike) -> None:
    profile = alike(
        f"""{BEGIN}
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    work(0.3)
    os.write(writer, b"x")
    time.sleep(60)
os.read(reader, 1)
os.kill(pid, signal.SIGKILL)
print(os.waitpid(pid, 0)[1])
"""
    )
    child = next(process for process in profile["processes"] if process["pid"] != profile["target"]["pid"])
    assert child["python_s"] + child["native_s"] + child["system_s"] > 0.2


def test_the_program_outlives_a_killed_launcher(tmp_path: Path, clean_env: dict[str, str]) -> None:
    source = """
print("begun", flush=True)
work(0.5)
import subprocess
print(subprocess.run([sys.executable, "-c", "print(len([bytes(500) for _ in range(100000)]))"], text=True, stdout=-1))
if os.fork() == 0:
    work(0.2)
    os._exit(0)
print(os.wait()[1])
thread = threading.Thread(target=work)
thread.start()
thread.join()
print("end")
"""
    (tmp_path / "app.py").write_text(BEGIN + source)
    command = [sys.executable, "-m", "rscalene", "run", "-q", "app.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=clean_env, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        lines = [launcher.stdout.readline()]
        launcher.kill()
        lines += launcher.stdout.readlines()
    assert [lines[0], lines[2], lines[3]] == ["begun\n", "0\n", "end\n"]
    assert "stdout='100000\\n'" in lines[1]


def test_a_killed_launcher_delays_no_process(tmp_path: Path, clean_env: dict[str, str]) -> None:
    source = """
print("begun", flush=True)
sys.stdin.readline()
signal.alarm(20)
begun = time.monotonic()
kept = [bytes(1000) for _ in range(50_000)]
print(time.monotonic() - begun)
"""
    (tmp_path / "app.py").write_text(BEGIN + source)
    command = [sys.executable, "-m", "rscalene", "run", "-q", "--memory", "exact", "app.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "begun\n"
        launcher.kill()
        launcher.stdin.write("go\n")
        launcher.stdin.flush()
        assert float(launcher.stdout.read()) < 10


def test_a_full_disk_costs_the_file_and_not_the_program(tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text(f"{BEGIN}\nprint('end')\nsys.exit(3)\n")
    (tmp_path / "full.json").symlink_to("/dev/full")
    command = [sys.executable, "-m", "rscalene", "run", "-o", "full.json", "app.py"]
    result = subprocess.run(command, cwd=tmp_path, env=clean_env, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (3, "end\n")
    assert "cannot write `full.json`" in result.stderr


# Two busy threads, a busy child, and short children without end.
RESTLESS = """\
import os, threading
def busy():
    while True:
        [bytes(1000) for _ in range(1000)]
threading.Thread(target=busy, daemon=True).start()
if os.fork() == 0:
    busy()
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""


def test_death_at_a_random_moment_never_hangs_the_launcher(
    tmp_path: Path, clean_env: dict[str, str], rscalene: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """``RSCALENE_DEATHS`` sets the number of rounds."""
    (tmp_path / "app.py").write_text(RESTLESS)
    clean_env["XDG_STATE_HOME"] = str(tmp_path / "state")
    captures = tmp_path / "state" / "rscalene"
    seeded = random.Random(7)
    for _ in range(int(os.environ.get("RSCALENE_DEATHS", "12"))):
        profile = tmp_path / "out.json"
        profile.unlink(missing_ok=True)
        command = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", "app.py"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=clean_env, stderr=subprocess.PIPE, process_group=0
        ) as launcher:
            try:
                time.sleep(0.15 + seeded.random() * 0.3)
                number = seeded.choice([signal.SIGKILL, signal.SIGTERM])
                if seeded.random() < 0.5:
                    launcher.send_signal(number)
                else:
                    os.killpg(launcher.pid, number)
                assert launcher.wait(20) in (-number, 128 + number)
            finally:
                # The program's own children outlive it, as they would without us.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(launcher.pid, signal.SIGKILL)
        if number == signal.SIGTERM and profile.exists():
            assert json.loads(profile.read_text())["target"]["exit"]["signal"] == signal.SIGTERM
        # A capture is left by a killed launcher alone, and can always be read.
        for capture in captures.iterdir():
            assert number == signal.SIGKILL
            back = rscalene("recover", capture, "-o", "back.json")
            assert back.returncode == 0, back.stderr
            assert json.loads((tmp_path / "back.json").read_text())["target"]["command"][-1] == "app.py"
            capture.unlink()
