"""Loads that meet memory which is gone: never a crash, never dear, and the program keeps its own signals."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from conftest import Run

GREENLETS = """
import functools, greenlet, re, rscalene

# C functions whose frames on the stack have different sizes, so that what is read there is garbage.
CALLS = [
    lambda f: sorted([0], key=f),
    lambda f: re.sub("x", lambda _: str(f(0)), "x"),
    lambda f: functools.reduce(lambda _, x: f(x), [0, 0]),
    lambda f: dict.fromkeys(map(f, [0])),
    lambda f: eval("f(0)", {"f": f}),
]

def deep(n, then, seed):
    return then() if n == 0 else str(CALLS[(seed * n) % 5](lambda _: deep(n - 1, then, seed)))

def task(seed):
    main.switch()
    after = (seed + 1) % len(tasks)
    for k in range(20):
        here = lambda: str(([bytes(600) for _ in range(20)], tasks[after].switch())[1])
        deep((seed * 37 + k * 11) % 25, here, seed * 3 + k)
    main.switch()

main = greenlet.getcurrent()
with rscalene.Profiler() as profiler:
    tasks = [greenlet.greenlet(task) for _ in range(30)]
    for seed, one in enumerate(tasks):
        one.switch(seed)
    tasks[0].switch()
print("whole", profiler.result().to_dict()["totals"]["alloc_samples"] > 0)
"""


@pytest.mark.parametrize("run", range(8))
def test_greenlets_switch_under_frames_that_a_profiler_reads(python: Run, run: int) -> None:
    done = python("-c", GREENLETS)
    assert (done.returncode, done.stdout) == (0, "whole True\n"), done.stderr


LENT = """
import ctypes, faulthandler, rscalene, signal, sys

libc = ctypes.CDLL(None)
def handlers():
    found = []
    for number in (signal.SIGSEGV, signal.SIGBUS):
        room = ctypes.create_string_buffer(256)
        libc.sigaction(number, None, room)
        found.append(room.raw[:8])
    return found

def profiled():
    with rscalene.Profiler():
        x = [bytearray(3000) for _ in range(3000)]

before = handlers()
profiled()
assert handlers() == before, "left behind"
faulthandler.enable()
theirs = handlers()
profiled()
assert handlers() == theirs, "the program's own are back"
faulthandler.disable()
with rscalene.Profiler():
    faulthandler.enable()
    x = [bytearray(3000) for _ in range(3000)]
assert handlers() == theirs, "what was put above ours stays"
profiled()
assert handlers() == theirs
sys.stdout.write("fine\\n"); sys.stdout.flush()
libc.memset(0, 1, 1)
"""


def test_a_profiler_gives_the_actions_of_faults_back(python: Run) -> None:
    done = python("-c", LENT)
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "fine\n"), done.stderr
    assert done.stderr.count("Segmentation fault") == 1


BLOCKING = """
import resource, signal, sys, threading

def burn():
    if sys.argv[1] == "block":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for k in range(int(sys.argv[2])):
        sum([i * i % 7 for i in range(500)])
    used = resource.getrusage(resource.RUSAGE_THREAD)
    sys.stderr.write(f"{used.ru_utime + used.ru_stime}")

thread = threading.Thread(target=burn)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(("mode", "rounds", "times"), [("sampled", 8000, 1.2), ("exact", 600, 6)])
def test_a_thread_that_blocks_all_signals_costs_what_others_do(
    rscalene: Run, tmp_path: Path, mode: str, rounds: int, times: float
) -> None:
    (tmp_path / "app.py").write_text(BLOCKING)

    def cpu(block: str) -> float:
        done = rscalene("run", "-q", "--memory", mode, "-o", "out.json", "app.py", block, rounds)
        return float(done.stderr)

    pairs = [(cpu("open"), cpu("block")) for _ in range(4)]
    assert min(block / plain for plain, block in pairs) < times, pairs


SENT = """
import os, signal, sys, threading, time

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSEGV})

def send():
    for _ in range(1_000):
        time.sleep(0.0002)
        os.kill(os.getpid(), signal.SIGSEGV)

sender = threading.Thread(target=send)
sender.start()
end = time.time() + 1
while time.time() < end:
    x = [bytes(700) for _ in range(300)]
sender.join()
print(signal.SIGSEGV in signal.sigpending(), signal.sigwait({signal.SIGSEGV}).name)
print(signal.sigtimedwait({signal.SIGSEGV}, 0))
"""


@pytest.mark.parametrize("mode", ["sampled", "exact"])
def test_a_fault_signal_that_is_sent_to_a_thread_that_blocks_it_stays_pending(
    rscalene: Run, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "app.py").write_text(SENT)
    # A signal that comes at the wrong instruction of a hook ended one run in two.
    for _ in range(4):
        done = rscalene("run", "-q", "--memory", mode, "-o", "out.json", "app.py")
        assert (done.returncode, done.stdout) == (0, "True SIGSEGV\nNone\n"), done.stderr
