"""Beside libraries, filters, limits and shells that others bring along: the program runs as it does without us."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

WORK = "x = [bytearray(1000) for _ in range(10000)]; print(len(x))"

FAILING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
__attribute__((constructor)) static void start(void) {
    void *block = malloc(100);
    dlsym(RTLD_NEXT, "no_such_function_1");
    block = realloc(block, 5000);
    memset(block, 1, 5000);
    dlsym(RTLD_NEXT, "no_such_function_2");
    free(block);
    dlopen("no_such_library.so", RTLD_NOW);
    dlsym(RTLD_DEFAULT, "no_such_function_3");
    free(calloc(10, 10));
}
__attribute__((destructor)) static void end(void) {
    dlsym(RTLD_NEXT, "no_such_function_4");
    dlsym(RTLD_NEXT, "no_such_function_5");
}
"""


@pytest.mark.parametrize("memory", ["off", "sampled", "exact"])
def test_a_preloaded_library_may_look_up_missing_symbols(
    rscalene: Run, tmp_path: Path, clean_env: dict[str, str], memory: str
) -> None:
    (tmp_path / "failing.c").write_text(FAILING)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "failing.so", "failing.c", "-ldl"], cwd=tmp_path, check=True)
    clean_env["LD_PRELOAD"] = str(tmp_path / "failing.so")
    done = rscalene("run", "-q", "--memory", memory, "-o", "out.json", "-c", WORK)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10000\n", "")


# Allows what Python itself needs, and answers anything else with an action.
FILTERED = """
import ctypes, os, struct, sys, threading, subprocess

action, how = int(sys.argv[1], 0), sys.argv[2]
allowed = [int(number) for number in sys.argv[3].split(",")]
rules = [(0x20, 0, 0, 0)]
for number in allowed:
    rules += [(0x15, 0, 1, number), (0x06, 0, 0, 0x7fff0000)]
rules.append((0x06, 0, 0, action))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = ctypes.create_string_buffer(struct.pack("H6xQ", len(rules), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
if how == "prctl":
    assert libc.prctl(22, 2, program, 0, 0) == 0
else:
    assert libc.syscall(317, 1, 0, program) == 0

def solve():
    return sum(sum([k * k % 7 for k in range(500)]) for j in range(4000))

results = [solve()]
blocks = [bytearray(1000) for _ in range(1000)]
if how == "thread":
    thread = threading.Thread(target=lambda: results.append(solve()))
    thread.start()
    thread.join()
print(results, flush=True)
"""

# The last names a thread, as CPython 3.14 does.
X86_64 = [
    *range(6), *range(8, 18), 20, 24, 28, 35, 39, 60, 72, 79, 89, 96, 186, 202, 204, 217, 228, 230, 231, 234, 257,
    262, 302, 318, 332, 334, 435, 439, 14, 56, 273, 157,
]  # fmt: skip
# Locks, memory and their like, which a program needs at one time and not at another.
BY_CHANCE = [3, 9, 10, 11, 12, 24, 28, 35, 202, 230]
KILL, TRAP, ERRNO = 0x80000000, 0x00030000, 0x00050001


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls have other numbers")
@pytest.mark.parametrize("cpu", ["auto", "timer"])
@pytest.mark.parametrize(("action", "how"), [(KILL, "prctl"), (TRAP, "syscall"), (KILL, "thread"), (ERRNO, "prctl")])
def test_a_filter_of_system_calls_meets_none_of_ours(
    rscalene: Run, tmp_path: Path, action: int, how: str, cpu: str
) -> None:
    (tmp_path / "app.py").write_text(FILTERED)
    numbers = ",".join(map(str, X86_64))
    done = rscalene("run", "-q", "--cpu-source", cpu, "-o", "out.json", "app.py", hex(action), how, numbers)
    count = 2 if how == "thread" else 1
    assert (done.returncode, done.stdout) == (0, f"{[3996000] * count}\n"), done.stderr
    profile = json.loads((tmp_path / "out.json").read_text())
    lines = {line["line"]: line for line in profile["files"][0]["lines"]}
    hot = max(lines.values(), key=lambda line: line["python_s"])
    assert hot["line"] == 20, "samples go on under the filter"
    told = any("seccomp" in notice["text"] for notice in profile["notices"])
    assert told == (action != ERRNO)


# The same; the filter is set before a thread, within a thread, for all threads from within one, or before a fork.
NARROW = (
    FILTERED.split("libc = ctypes")[0]
    + """
import signal, time
libc = ctypes.CDLL(None)

if how == "handled":
    # The program's own handler keeps the kernel from ignoring the signal of the samples.
    signal.signal(signal.SIGURG, lambda number, frame: None)

def solve(count=60):
    return sum(sum([k * k % 7 for k in range(500)]) for j in range(count * 20))

def filtered():
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    flags = 1 if how in ("everywhere", "handled") else 0
    assert libc.syscall(317, 1, flags, program) == 0
    work()

def work():
    solve()
    blocks = [bytearray(1000) for _ in range(1000)]
    os.write(1, b"worked\\n")

if how == "before":
    filtered()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
elif how in ("within", "everywhere", "handled"):
    thread = threading.Thread(target=filtered)
    thread.start()
    work()
    thread.join()
else:
    filtered()
    pid = os.fork()
    work()
    if pid:
        os.waitpid(pid, 0)
time.sleep(0.1)  # the thread has ended, too
os._exit(0)
"""
)


def plain_end(folder: Path, how: str, allowed: list[int]) -> int:
    command = [sys.executable, "-S", "-E", "narrow.py", hex(KILL), how, ",".join(map(str, allowed))]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls have other numbers")
@pytest.mark.parametrize("how", ["before", "within", "everywhere", "handled", "fork"])
def test_a_filter_as_narrow_as_the_program_bears_ends_no_program(rscalene: Run, tmp_path: Path, how: str) -> None:
    (tmp_path / "narrow.py").write_text(NARROW)
    allowed = [*X86_64, 61]
    assert plain_end(tmp_path, how, allowed) == 0
    candidates = [number for number in allowed if number not in BY_CHANCE]
    parts = [candidates[at : at + 8] for at in range(0, len(candidates), 8)]
    while parts:
        part = parts.pop()
        without = [number for number in allowed if number not in part]
        if plain_end(tmp_path, how, without) == 0:
            allowed = without
        elif len(part) > 1:
            parts += [[number] for number in part]
    assert 15 not in allowed, "no signal comes to the plain program"
    numbers = ",".join(map(str, allowed))
    for cpu in ("auto", "timer"):
        run = ("run", "-q", "--cpu-source", cpu, "-o", "out.json", "narrow.py", hex(KILL), how, numbers)
        done = rscalene(*run)
        assert (done.returncode, done.stdout) == (0, "worked\n" * 2), (cpu, allowed, done.stderr)
        notices = json.loads((tmp_path / "out.json").read_text())["notices"]
        assert any("nothing but its totals" in notice["text"] for notice in notices), notices


REFUSED = (
    FILTERED.split("libc = ctypes")[0]
    + """
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0

def solve():
    return sum(sum([k * k % 7 for k in range(500)]) for j in range(16000))

begun = threading.Barrier(2)
def first():
    begun.wait()
    solve()
thread = threading.Thread(target=first)
thread.start()
begun.wait()
# No kernel knows this flag; the first one means all threads.
assert libc.syscall(317, 1, int(how), program) == -1
begun_too = solve()
thread.join()
"""
)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls have other numbers")
@pytest.mark.parametrize("cpu", ["auto", "timer"])
@pytest.mark.parametrize("flags", [1 << 20, 1 << 20 | 1])
def test_a_filter_that_the_kernel_refuses_changes_nothing(rscalene: Run, tmp_path: Path, flags: int, cpu: str) -> None:
    (tmp_path / "app.py").write_text(REFUSED)
    done = rscalene("run", "-q", "--cpu-source", cpu, "-o", "out.json", "app.py", hex(KILL), str(flags), "0")
    assert (done.returncode, done.stderr) == (0, "")
    profile = json.loads((tmp_path / "out.json").read_text())
    assert not any("seccomp" in notice["text"] for notice in profile["notices"])
    busy = [thread for thread in profile["threads"] if thread["cpu_clock_s"] > 0.1]
    assert len(busy) == 2
    for thread in busy:
        assert thread["python_s"] + thread["native_s"] > 0.9 * thread["cpu_clock_s"], thread


ONE_KILLS = """
import ctypes, os, signal, struct, subprocess, sys
import rscalene
number = int(sys.argv[1])
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = ctypes.create_string_buffer(struct.pack("H6xQ", len(rules), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
own, urgent, got = os.getpid(), signal.SIGURG, []
signal.signal(urgent, lambda *_: got.append("urgent"))
with rscalene.label(task="before"):
    sum(k * k for k in range(300_000))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0
with rscalene.label(task="before"), rscalene.label(task="after"):
    sum(k * k for k in range(300_000))
print("labelled", flush=True)
os.kill(own, urgent)
signal.pthread_sigmask(signal.SIG_BLOCK, [urgent])
os.kill(own, urgent)
print(got, urgent in signal.sigpending(), flush=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [urgent])
print(got, flush=True)
try:
    os.execv("/no/such", ["no"])
except OSError:
    print("no such file", flush=True)
print(subprocess.run(["/bin/echo", "child"], capture_output=True).stdout, flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.execv("/bin/echo", ["echo", "became"])
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls have other numbers")
@pytest.mark.parametrize("number", [39, 98, 222, 298], ids=["getpid", "getrusage", "timer_create", "perf_event_open"])
def test_a_filter_that_kills_for_one_call_of_ours_ends_no_label_no_signal_and_no_exec(
    rscalene: Run, tmp_path: Path, number: int
) -> None:
    (tmp_path / "app.py").write_text(ONE_KILLS)
    done = rscalene("run", "-q", "-o", "out.json", "app.py", str(number))
    lines = ["labelled", "['urgent'] True", "['urgent', 'urgent']", "no such file", r"b'child\n'", "became", ""]
    assert (done.returncode, done.stdout) == (0, "\n".join(lines)), done.stderr


@pytest.mark.parametrize("kib", [1_000_000, 3000, 64])
def test_a_limit_on_the_size_of_files_stops_no_program(rscalene: Run, tmp_path: Path, kib: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, kib * 1024))

    done = rscalene("run", "-q", "-o", "out.json", "-c", WORK, preexec_fn=limit)
    assert done.stdout == "10000\n"
    if kib > 64:
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads((tmp_path / "out.json").read_text())["totals"]["alloc_bytes"] > 10_000_000
    else:
        assert done.returncode == 4
        assert "hint: " in done.stderr


def test_another_preload_of_a_child_goes_behind_ours(rscalene: Run, tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "other.c").write_text("int other_library_is_loaded = 1;")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "other.so", "other.c"], cwd=tmp_path, check=True)
    other = str(tmp_path / "other.so")
    (tmp_path / "child.py").write_text(
        "import ctypes, os, subprocess, sys\n"
        "x = sum(k * k % 7 for k in range(3000000))\n"
        "print(os.environ.get('LD_PRELOAD'), 'RSCALENE_ARENA' in os.environ)\n"
        "print(ctypes.c_int.in_dll(ctypes.CDLL(None), 'other_library_is_loaded').value)\n"
    )
    (tmp_path / "script.sh").write_text(f"#!/bin/sh\nexport LD_PRELOAD={other}\nexec {sys.executable} child.py\n")
    (tmp_path / "app.py").write_text(
        "import os, subprocess, sys\n"
        f"other = {other!r}\n"
        "command = [sys.executable, 'child.py']\n"
        "for env in ({**os.environ, 'LD_PRELOAD': other}, {'PATH': os.environ['PATH'], 'LD_PRELOAD': other}):\n"
        "    subprocess.run(command, env=env, check=True)\n"
        "    pid = os.posix_spawn(sys.executable, command, env)\n"
        "    os.waitpid(pid, 0)\n"
        "subprocess.run(['sh', 'script.sh'], check=True)\n"
    )
    done = rscalene("run", "-q", "-o", "out.json", "app.py")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [other, "1"] * 5
    profile = json.loads((tmp_path / "out.json").read_text())
    assert len(profile["processes"]) == 6
    (child,) = [file for file in profile["files"] if file["path"].endswith("child.py")]
    (hot,) = [line for line in child["lines"] if line["line"] == 2]
    assert hot["python_s"] > 0.3 * profile["totals"]["cpu_clock_s"]


def test_a_place_that_others_may_not_enter_shows_in_no_output(tmp_path: Path, clean_env: dict[str, str]) -> None:
    import rscalene

    home = tmp_path / "a home of its own"
    site = home / "site"
    shutil.copytree(Path(rscalene.__file__).parent, site / "rscalene")
    home.chmod(0o700)
    clean_env["PYTHONPATH"] = str(site)
    # It goes on when the launcher has ended, and starts a child then.
    (tmp_path / "app.py").write_text(
        "import os, subprocess, sys, time\n"
        "if os.getuid() == 0:\n"
        "    done = subprocess.run(['/bin/echo', 'other user'], user=65534, capture_output=True, text=True)\n"
        "    print(done.stdout, done.stderr)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(1)\n"
        "    done = subprocess.run(['/bin/echo', 'late'], capture_output=True, text=True)\n"
        "    open('late.part', 'w').write(done.stdout + done.stderr)\n"
        "    os.rename('late.part', 'late.txt')\n"
        "    os._exit(0)\n"
    )
    command = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", "app.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0
    assert "ld.so" not in done.stdout, done.stdout
    assert until((tmp_path / "late.txt").exists)
    assert (tmp_path / "late.txt").read_text() == "late\n"


STOPPING = """
import os, signal, sys
print("before", flush=True)
os.kill(os.getpid(), getattr(signal, sys.argv[1]))
print("after", flush=True)
"""


def states(pid: int) -> str:
    """State of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(truth: Any, seconds: float = 10) -> bool:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if truth():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("wakes", ["launcher", "program"])
def test_a_program_that_stops_stops_the_launcher_and_goes_on_with_it(
    tmp_path: Path, clean_env: dict[str, str], wakes: str
) -> None:
    (tmp_path / "app.py").write_text(STOPPING)
    command = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", "app.py", "SIGSTOP"]
    process = subprocess.Popen(command, cwd=tmp_path, env=clean_env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "before\n"
        assert until(lambda: states(process.pid) == "T"), "the shell sees that the job has stopped"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        program = next(int(child) for child in children if states(int(child)) == "T")
        os.kill(process.pid if wakes == "launcher" else program, signal.SIGCONT)
        assert process.communicate(timeout=20)[0] == "after\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_a_shell_gets_its_terminal_back(tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text(STOPPING)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], clean_env | {"PS1": "$ ", "TERM": "dumb"})
    seen = ""

    def answers(text: str, typed: str) -> None:
        nonlocal seen
        os.write(terminal, typed.encode())
        end = time.monotonic() + 20
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 65536).decode()
        seen = seen.partition(text)[2]

    try:
        answers("Stopped", f"{sys.executable} -m rscalene run -q -o out.json app.py SIGTSTP\n")
        answers("back again", "echo back' 'again\n")
        answers("after", "fg\n")
        answers("code 0", "echo code' '$?\n")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


@pytest.mark.parametrize("how", ["os.setgid(65534); os.setuid(65534)", "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)"])
def test_waits_that_the_launcher_may_not_see_are_unknown(rscalene: Run, tmp_path: Path, how: str) -> None:
    if "setuid" in how and os.getuid() != 0:
        pytest.skip("only root has rights to give away")
    # The program can be read at first; the launcher is without CAP_SYS_PTRACE (19), as in a container.
    (tmp_path / "app.py").write_text(
        "import ctypes, os, time\n"
        "x = sum(k * k % 7 for k in range(1000000))\n"
        f"{how}\n"
        "time.sleep(0.8)\n"
        "if os.fork() == 0:\n"
        "    time.sleep(0.3)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    tmp_path.chmod(0o755)
    drop = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 19, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", drop, sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", "app.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    profile = json.loads((tmp_path / "out.json").read_text())
    assert sum("CAP_SYS_PTRACE" in notice["text"] for notice in profile["notices"]) == 2, profile["notices"]
    rows = [profile["totals"], *profile["processes"], *profile["threads"], *profile["files"][0]["lines"]]
    assert {(row["wait_s"], row["gil_wait_s"]) for row in rows} == {(None, None)}
    assert profile["totals"]["cpu_clock_s"] > 0.02


def test_threads_that_end_at_the_same_time_have_a_row_each(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import time\n"
        "with ThreadPoolExecutor(200) as pool:\n"
        "    list(pool.map(lambda i: time.sleep(0.5), range(200)))\n"
        "time.sleep(0.5)\n"
    )
    assert rscalene("run", "-q", "-o", "out.json", "app.py").returncode == 0
    threads = json.loads((tmp_path / "out.json").read_text())["threads"]
    assert len(threads) == len({row["tid"] for row in threads}) == 201
    seen = [row for row in threads if row["wait_s"] > 0]
    assert len(seen) > 100, "a busy machine may show the launcher fewer"
    assert all(row["name"] for row in seen)


def test_a_stopped_program_does_not_wait_on_the_line_that_it_computes(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, subprocess, time\n"
        "pid = os.getpid()\n"
        "script = f'for i in 1 2 3 4; do sleep 0.3; kill -STOP {pid}; sleep 0.5; kill -CONT {pid}; done'\n"
        "other = subprocess.Popen(['sh', '-c', script])\n"
        "start = time.process_time()\n"
        "while time.process_time() - start < 0.7: n = sum(k * k % 7 for k in range(300))\n"
        "other.wait()\n"
    )
    assert rscalene("run", "-q", "-o", "out.json", "app.py").returncode == 0
    profile = json.loads((tmp_path / "out.json").read_text())
    lines = {line["line"]: line for line in profile["files"][0]["lines"]}
    assert lines[6]["python_s"] > 0.3
    assert lines[6]["wait_s"] < 0.3, "stopped for about a second while it computed"
