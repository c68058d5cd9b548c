"""Programs that use signals, tracers and odd surroundings themselves see none of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workload import WORK, seconds

Alike = Callable[..., dict[str, Any]]


def test_a_program_can_use_the_profiling_timer(alike: Alike) -> None:
    alike(
        WORK
        + """
hits = []
signal.signal(signal.SIGPROF, lambda number, frame: hits.append(number))
signal.setitimer(signal.ITIMER_PROF, 0.02, 0.02)
work(0.4)
signal.setitimer(signal.ITIMER_PROF, 0)
print(len(hits) > 5, set(hits))
"""
    )


def test_every_signal_is_the_programs_own(alike: Alike) -> None:
    alike(
        WORK
        + """
got = []
handler = lambda number, frame: got.append(number)
numbers = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
for number in numbers:
    before = signal.getsignal(number)
    print(number, before, signal.signal(number, handler) is before, signal.getsignal(number) is handler)
work()
for number in numbers:
    os.kill(os.getpid(), number)
    work(0.002)
print(sorted(got) == numbers, got.count(signal.SIGURG))
for number in numbers:
    print(number, signal.signal(number, signal.SIG_DFL) is handler, signal.getsignal(number))
os.kill(os.getpid(), signal.SIGURG)
signal.signal(signal.SIGURG, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGURG)
print(signal.getsignal(signal.SIGURG))
"""
    )


def test_a_child_that_resets_its_handlers_leaves_those_of_its_parent(alike: Alike) -> None:
    # A child of `subprocess` runs in the memory of its parent until its exec.
    alike(
        WORK
        + """
import subprocess, threading
got = []
numbers = [signal.SIGURG, signal.SIGSEGV, signal.SIGBUS, signal.SIGUSR1]
for number in numbers:
    signal.signal(number, lambda number, frame: got.append(number))
def child():
    work()
    subprocess.run(["true"], check=True)
def from_a_thread():
    thread = threading.Thread(target=child)
    thread.start()
    thread.join()
for run in (child, from_a_thread):
    run()
    for number in numbers:
        os.kill(os.getpid(), number)
        work(0.002)
    print(got == numbers)
    got.clear()
"""
    )


def test_the_mask_is_what_the_program_made_it(alike: Alike) -> None:
    alike(
        WORK
        + """
def mask():
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(mask())
print(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG, signal.SIGUSR1}))
os.kill(os.getpid(), signal.SIGUSR1)
work()
print(mask(), signal.sigpending(), signal.sigwait({signal.SIGUSR1}))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})
print(mask())
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
thread = threading.Thread(target=lambda: (work(), print(mask())))
thread.start()
thread.join()
signal.pthread_sigmask(signal.SIG_SETMASK, [])
print(mask())
print(subprocess.run(["grep", "Sig[BIC]", "/proc/self/status"], capture_output=True, text=True).stdout)
"""
    )


def test_a_thread_can_wait_for_signals(alike: Alike) -> None:
    alike(
        WORK
        + """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
thread = threading.Thread(target=lambda: print(signal.sigwaitinfo({signal.SIGUSR1}).si_signo))
thread.start()
work()
os.kill(os.getpid(), signal.SIGUSR1)
thread.join()
"""
    )


def test_a_blocked_sample_signal_waits_for_the_program(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
urgent = signal.SIGURG
got = []
signal.signal(urgent, lambda number, frame: got.append(number))
signal.pthread_sigmask(signal.SIG_BLOCK, {urgent})
work()
os.kill(os.getpid(), urgent)
work()
print(got, signal.sigpending(), signal.sigwait({urgent}), signal.sigpending())
work()
print(signal.sigtimedwait({urgent}, 0.05))
signal.pthread_kill(threading.get_ident(), urgent)
work()
print(got, signal.sigpending())
signal.pthread_sigmask(signal.SIG_UNBLOCK, {urgent})
print(got, signal.sigpending())
os.kill(os.getpid(), urgent)
work()
print(got)
"""
    )
    assert profile["totals"]["sampled_cpu_s"] > 0.2


def test_a_thread_can_wait_for_the_sample_signal_of_another_process(alike: Alike) -> None:
    alike(
        WORK
        + """
urgent = signal.SIGURG
signal.pthread_sigmask(signal.SIG_BLOCK, {urgent})
def wait():
    info = signal.sigwaitinfo({urgent})
    print(info.si_signo, info.si_code, info.si_pid == os.getpid(), info.si_uid)
threads = [threading.Thread(target=wait), threading.Thread(target=work, args=(0.2,))]
for thread in threads:
    thread.start()
work(0.05)
subprocess.run(["sh", "-c", "kill -URG $PPID"])
for thread in threads:
    thread.join()
print(signal.sigpending())
"""
    )


def test_urgent_data_of_a_socket_is_announced(alike: Alike) -> None:
    alike(
        WORK
        + """
import fcntl, socket
urgent = signal.SIGURG
got = []
signal.signal(urgent, lambda number, frame: got.append(number))
server = socket.create_server(("127.0.0.1", 0))
sender = socket.create_connection(server.getsockname())
receiver, _ = server.accept()
fcntl.fcntl(receiver, fcntl.F_SETOWN, os.getpid())
sender.send(b"x", socket.MSG_OOB)
while not got:
    work(0.01)
print(got, receiver.recv(1, socket.MSG_OOB))
signal.pthread_sigmask(signal.SIG_BLOCK, {urgent})
work()
sender.send(b"y", socket.MSG_OOB)
info = signal.sigtimedwait({urgent}, 10)
print(got, info.si_signo, info.si_code, receiver.recv(1, socket.MSG_OOB))
"""
    )


def test_a_descriptor_reads_the_sample_signal(alike: Alike) -> None:
    alike(
        WORK
        + """
import select, struct
libc = ctypes.CDLL(None)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
mask = ctypes.create_string_buffer(struct.pack("Q", 1 << (signal.SIGURG - 1)), 128)
descriptor = libc.signalfd(-1, mask, 0)
work()
print(select.select([descriptor], [], [], 0)[0] == [])
os.kill(os.getpid(), signal.SIGURG)
work()
print(select.select([descriptor], [], [], 10)[0] == [descriptor], os.read(descriptor, 128)[:4])
work()
print(select.select([descriptor], [], [], 0)[0] == [], signal.sigpending())
"""
    )


def test_children_inherit_the_mask_as_it_was_made(alike: Alike) -> None:
    alike(
        WORK
        + """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG, signal.SIGUSR1})
show = ["grep", "SigBlk", "/proc/self/status"]
print(subprocess.run(show, capture_output=True, text=True).stdout)
code = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout, flush=True)
os.waitpid(os.posix_spawnp("grep", show, os.environ), 0)
try:
    os.execv("/no/such/program", ["x"])
except OSError:
    work()
if os.fork() == 0:
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)
    os.execvp("grep", show)
os.wait()
"""
    )


def test_faulthandler_dumps_what_it_would_dump(alike: Alike) -> None:
    alike(
        WORK
        + """
import faulthandler
faulthandler.register(signal.SIGUSR1)
def inner():
    work()
    os.kill(os.getpid(), signal.SIGUSR1)
inner()
"""
    )


def test_tracers_and_profilers_see_the_program_alone(alike: Alike) -> None:
    alike(
        WORK
        + """
import cProfile, pstats, tracemalloc
profiler = cProfile.Profile()
profiler.runcall(lambda: [work(0.05) for _ in range(2)])
print(sorted((key[2], value[0]) for key, value in pstats.Stats(profiler).stats.items() if key[2] == "work"))
seen = []
def trace(frame, event, argument):
    if frame.f_code.co_name == "traced":
        seen.append((frame.f_lineno, event))
    return trace
def traced():
    total = 0
    for number in range(3):
        total += number
    return total
for install in (sys.settrace, sys.setprofile):
    install(trace)
    traced()
    install(None)
print(seen, sys.gettrace(), sys.getprofile())
tracemalloc.start()
kept = [bytearray(1000) for _ in range(10000)]
first = tracemalloc.take_snapshot().statistics("lineno")[0]
print(first.traceback, first.size // 1_000_000)
"""
    )


def test_c_code_can_call_back_from_threads_of_its_own(alike: Alike) -> None:
    alike(
        WORK
        + """
libc = ctypes.CDLL(None)
order = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 5000)(*[number * 7919 % 5003 for number in range(5000)])
libc.qsort(numbers, len(numbers), 4, order(lambda left, right: left[0] - right[0]))
print(list(numbers) == sorted(numbers))
entry = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
done = []
begin = entry(lambda argument: done.append(work()))
thread = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, begin, None)
libc.pthread_join(thread, None)
print(done)
"""
    )


def test_a_program_may_close_every_descriptor(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
os.closerange(3, 65536)
work(0.2)
thread = threading.Thread(target=work, args=(0.2,))
thread.start()
thread.join()
print(os.listdir("/proc/self/fd"), os.open("/dev/null", os.O_RDONLY))
"""
    )
    assert profile["totals"]["python_s"] + profile["totals"]["native_s"] == pytest.approx(0.4, abs=0.15)


def test_a_process_may_have_any_name(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
ctypes.CDLL(None).prctl(15, b"\\xff\\xfe) Z 1", 0, 0, 0)
work(0.6)
print(open("/proc/self/comm", "rb").read())
"""
    )
    assert seconds(profile) == pytest.approx(0.6, abs=0.15)
    assert not profile["notices"]


@pytest.mark.parametrize("missing", [("HOME", "TERM"), ("LANG", "LC_ALL")])
def test_a_bare_environment_changes_nothing(alike: Alike, clean_env: dict[str, str], missing: tuple[str, ...]) -> None:
    env = {name: value for name, value in clean_env.items() if name not in missing} | {"LC_ALL": "C"}
    alike(f"{WORK}\nwork()\nprint(sys.getfilesystemencoding(), 'HOME' in os.environ)\n", env=env)


# Has the kernel answer EPERM to perf_event_open and process_vm_readv, then becomes the command.
DENYING = """\
import ctypes, os, platform, struct, sys
calls = {"x86_64": (298, 310), "aarch64": (241, 270)}[platform.machine()]
code = [(0x20, 0, 0, 0), (0x15, 1, 0, calls[0]), (0x15, 0, 1, calls[1]), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(filters))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_where_the_kernel_denies_its_clocks_timers_do(tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text(f"{WORK}\nwork(0.3)\nprint('end')\n")
    run = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", "app.py"]
    command = [sys.executable, "-c", DENYING, *run]
    result = subprocess.run(command, cwd=tmp_path, env=clean_env, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")
    totals = json.loads((tmp_path / "out.json").read_text())["totals"]
    assert totals["python_s"] + totals["native_s"] + totals["system_s"] == pytest.approx(0.3, abs=0.15)
