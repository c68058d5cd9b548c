"""Every process of a program is followed, whatever starts it, and the program does not notice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workload import LINE, WORK

Alike = Callable[..., dict[str, Any]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

CHILD = "import time\\nend = time.process_time() + 0.15\\nwhile time.process_time() < end: pass"


def cpu(times: dict[str, Any]) -> float:
    """Seconds of CPU time."""
    return float(sum(times.get(key) or 0 for key in ("python_s", "native_s", "helpers_s", "system_s", "user_s")))


def busy(profile: dict[str, Any], seconds: float = 0.12) -> int:
    """Number of processes with that much CPU time of their own."""
    return sum(cpu(process) > seconds for process in profile["processes"])


def on_line(profile: dict[str, Any]) -> float:
    """Seconds of CPU time on the line of `WORK`, all processes."""
    return sum(
        cpu(line)
        for file in profile["files"]
        if file["path"].endswith("app.py")
        for line in file["lines"]
        if line["line"] == LINE
    )


def test_forked_children_are_followed_and_counted_on_their_lines(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(number)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""
    )
    assert len(profile["processes"]) == 5
    assert busy(profile) == 4
    assert on_line(profile) == pytest.approx(0.6, abs=0.2)


def test_the_profile_has_the_exit_code_of_each_process(alike: Alike, tmp_path: Path) -> None:
    profile = alike(
        WORK
        + """
import json, multiprocessing
told = {os.getpid(): 3}
for code, end in [
    (0, lambda: os._exit(0)),
    (7, lambda: os._exit(7)),
    (255, lambda: os._exit(-1)),
    (None, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    (None, os.abort),
]:
    pid = os.fork() or end()
    os.waitpid(pid, 0)
    told[pid] = code
for code, source in [
    (0, ""),
    (5, "import sys; sys.exit(5)"),
    (1, "1 / 0"),
    (120, "import os; print(1); os.close(1)"),
    (None, "import os; os.execv('/bin/sh', ['sh', '-c', 'exit 9'])"),
]:
    child = subprocess.Popen([sys.executable, "-c", source], stdout=-1, stderr=-1)
    child.communicate()
    told[child.pid] = code
child = multiprocessing.get_context("fork").Process(target=sys.exit, args=(4,))
child.start()
child.join()
told[child.pid] = 4
json.dump(told, open("told.json", "w"))
sys.exit(3)
"""
    )
    told = json.loads((tmp_path / "told.json").read_text())
    ends = {str(process["pid"]): process["exit"] for process in profile["processes"]}
    assert {pid: ends[pid] for pid in told} == {pid: {"code": code, "signal": None} for pid, code in told.items()}
    assert len(told) == 12


def test_children_that_live_for_a_moment_are_counted_once_and_not_complained_of(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
for _ in range(8):
    children = [os.fork() or os._exit(len([bytes(600) for _ in range(1000)]) and 0) for _ in range(10)]
    print([os.waitpid(pid, 0)[1] for pid in children])
"""
    )
    assert len(profile["processes"]) == 81
    assert profile["notices"] == []


def test_many_children_cost_no_more_samples_than_one_process_with_all_their_work(rscalene: Run, tmp_path: Path) -> None:
    samples = {}
    for children in (0, 100):
        (tmp_path / "app.py").write_text(
            f"""
import os
for _ in range(100):
    if not {children} or not os.fork():
        kept = [[number] for number in range(40_000)]
        {children} and os._exit(0)
    else:
        os.wait()
"""
        )
        rscalene("run", "-q", "-o", "out.json", "app.py")
        samples[children] = json.loads((tmp_path / "out.json").read_text())["totals"]["alloc_samples"]
    assert samples[100] > 200
    assert samples[100] < samples[0], samples


def test_a_child_of_a_child_is_followed(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
if os.fork() == 0:
    if os.fork() == 0:
        work()
        os._exit(0)
    os.wait()
    os._exit(0)
os.wait()
"""
    )
    assert len(profile["processes"]) == 3
    assert busy(profile) == 1


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.run([sys.executable, '-c', CHILD], check=True)",
        "subprocess.run([sys.executable, '-c', CHILD], check=True, close_fds=True, start_new_session=True)",
        "os.waitpid(os.posix_spawn(sys.executable, [sys.executable, '-c', CHILD], os.environ), 0)",
        "subprocess.run(['sh', '-c', 'true; exec \"$0\" -c \"$1\"', sys.executable, CHILD], check=True)",
        "os.environ['CHILD'] = CHILD; os.system(f'\"{sys.executable}\" -c \"$CHILD\"; true')",
        "os.environ.pop('LD_PRELOAD', 0); os.system(f'\"{sys.executable}\" -c \"{CHILD}\"; exit 3')",
        "os.environ.pop('RSCALENE_ARENA', 0); os.system(f'\"{sys.executable}\" -c \"{CHILD}\"')",
        "os.environ['LD_PRELOAD'] = 'libm.so.6'; os.system(f'\"{sys.executable}\" -c \"{CHILD}\"; echo $LD_PRELOAD')",
    ],
    ids=["subprocess", "session", "posix_spawn", "shell", "system", "no-preload", "no-arena", "another-preload"],
)
def test_an_interpreter_that_is_started_is_followed(alike: Alike, start: str) -> None:
    profile = alike(f"{WORK}\nCHILD = '{CHILD}'\n{start}\nprint('end')\n")
    assert len(profile["processes"]) == 2
    assert busy(profile) == 1


def test_children_keep_their_exit_codes_and_streams(alike: Alike) -> None:
    alike(
        WORK
        + """
def run(*words, **options):
    result = subprocess.run(words, capture_output=True, text=True, **options)
    print(result.returncode, result.stdout, result.stderr, sep="|")
run(sys.executable, "-c", "import sys; print(1); sys.exit('two')")
run(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
run(sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))")
run("sh", "-c", "echo out; echo err >&2; exit 3")
print(os.system("exit 5"))
try:
    subprocess.run(["/no/such/program"])
except FileNotFoundError as error:
    print(error)
"""
    )


@pytest.mark.parametrize(
    "start",
    [
        "print(subprocess.run(SHOW, env={}, capture_output=True, text=True).stdout)",
        "os.waitpid(os.posix_spawn(sys.executable, SHOW, {'A': 'b'}), 0)",
        "os.waitpid(os.posix_spawnp(sys.executable, SHOW, {}), 0)",
        "os.fork() or os.execve(sys.executable, SHOW, {'A': 'b'}); os.wait()",
        "subprocess.run(['env', '-i', 'C=d', *SHOW])",
        "subprocess.run(['sh', '-c', '\"$@\"', 'sh', *SHOW], env={'A': 'b'})",
        "os.environ.clear(); os.fork() or os.execv(sys.executable, SHOW); os.wait()",
        "os.environ.clear(); os.system(shlex.join(SHOW) + \"; echo $0 '$LD_PRELOAD' $LD_PRELOAD; set | grep _ARENA\")",
        "os.environ.clear(); libc = ctypes.CDLL(None); libc.popen.restype = ctypes.c_void_p; "
        "libc.pclose(ctypes.c_void_p(libc.popen(shlex.join(SHOW).encode(), b'w')))",
    ],
    ids=[
        "subprocess",
        "posix_spawn",
        "posix_spawnp",
        "execve",
        "env",
        "shell",
        "execv",
        "system",
        "popen",
    ],
)
def test_a_child_with_a_cleaned_environment_is_followed_and_sees_nothing_of_it(alike: Alike, start: str) -> None:
    profile = alike(
        f"""{WORK}
import ctypes, shlex
SHOW = [sys.executable, "-c", '{CHILD}\\nimport os; print(sorted(os.environ), flush=True)']
{start}
"""
    )
    assert busy(profile) == 1


def test_environments_of_any_size_are_passed_on(alike: Alike) -> None:
    alike(
        WORK
        + """
code = "import os; print(len(os.environ), os.environ['V1'])"
for count in (900, 1100, 5000):
    env = {f"V{number}": "x" * 10 for number in range(count)}
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stdout)
"""
    )


def test_without_children_the_first_process_alone_is_profiled(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        f"""{WORK}
CHILD = '{CHILD}'
if len(sys.argv) == 1:
    subprocess.run([sys.executable, "-c", CHILD])
    subprocess.run([sys.executable, "-c", CHILD], env={{}})
    if os.fork() == 0:
        work()
        os._exit(0)
    os.wait()
    os.execv(sys.executable, [sys.executable, __file__, "again"])
work()
"""
    )
    assert rscalene("run", "-q", "--no-children", "-o", "out.json", "app.py").returncode == 0
    profile = json.loads((tmp_path / "out.json").read_text())
    assert len(profile["processes"]) == 1
    assert on_line(profile) == pytest.approx(0.15, abs=0.08)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_work_and_their_workers_are_followed(alike: Alike, method: str) -> None:
    profile = alike(
        WORK
        + f"""
import concurrent.futures, multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    with context.Pool(2) as pool:
        print(pool.map(work, [0.15] * 2, chunksize=1))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        print(list(pool.map(work, [0.15] * 2)))
    sleeper = context.Process(target=time.sleep, args=(60,))
    sleeper.start()
    sleeper.terminate()
    sleeper.join()
    print(sleeper.exitcode)
"""
    )
    assert busy(profile) >= 2
    assert on_line(profile) == pytest.approx(0.6, abs=0.25)
    # What starts the workers is the library's.
    assert [file["path"] for file in profile["files"] if file["path"].startswith("<")] == []


def test_texts_on_command_lines_and_texts_that_are_executed_are_files_of_their_own(
    rscalene: Run, tmp_path: Path
) -> None:
    work = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"
    program = f"""import subprocess, sys
print("a line that does little")
exec({work.format(0.2)!r})
for seconds in (0.3, 0.4):
    subprocess.run([sys.executable, "-c", {work!r}.format(seconds)])
"""
    assert rscalene("run", "-q", "-o", "out.json", "-c", program).stdout == "a line that does little\n"
    profile = json.loads((tmp_path / "out.json").read_text())
    seconds = {file["path"]: cpu(file["lines"][-1]) for file in profile["files"] if cpu(file["lines"][-1]) > 0.1}
    assert seconds == {
        "<exec>": pytest.approx(0.2, abs=0.08),
        "<-c import time>": pytest.approx(0.3, abs=0.1),
        "<-c import time (2)>": pytest.approx(0.4, abs=0.1),
    }
    sources = {file["path"]: [line["source"] for line in file["lines"]] for file in profile["files"]}
    assert sources["<-c import time (2)>"][-1] == "while time.process_time() < end: pass"
    assert set(sources["<exec>"]) == {None}
    assert set(sources["<string>"]) <= set(program.splitlines())


def test_a_program_that_execs_another_keeps_its_figures(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
work()
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, __file__, "again"])
print("again", flush=True)
os.execvp("sh", ["sh", "-c", "echo shell; exit 9"])
"""
    )
    assert on_line(profile) == pytest.approx(0.3, abs=0.12)


def test_an_exec_that_fails_ends_nothing(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
try:
    os.execv("/no/such/program", ["x"])
except OSError as error:
    print(error)
work()
"""
    )
    assert on_line(profile) == pytest.approx(0.15, abs=0.08)


def test_a_daemon_that_closes_everything_goes_on(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        os.dup2(writer, 3)
        os.closerange(4, 65536)
        work()
        os.write(3, b"done")
        os._exit(0)
    os._exit(0)
os.close(writer)
os.wait()
print(os.read(reader, 10))
"""
    )
    assert len(profile["processes"]) == 3


def test_a_thousand_threads_at_once_and_ten_thousand_short_ones(alike: Alike) -> None:
    alike(
        """
import threading
threading.stack_size(128 * 1024)
barrier = threading.Barrier(1001)
threads = [threading.Thread(target=barrier.wait) for _ in range(1000)]
for thread in threads:
    thread.start()
barrier.wait()
for thread in threads:
    thread.join()
count = 0
def add():
    global count
    count += 1
for _ in range(10_000):
    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
print(count)
"""
    )


def test_the_table_separates_processes(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        WORK
        + """
for seconds in (0.1, 0.5):
    if os.fork() == 0:
        work(seconds)
        os._exit(0)
    os.wait()
"""
    )
    assert rscalene("run", "-q", "-o", "out.json", "app.py").returncode == 0
    together = rscalene("view", "out.json").stdout
    apart = rscalene("view", "--per-process", "out.json").stdout
    assert apart.splitlines()[-2:] == together.splitlines()[-2:], "the answer stands last"
    # What is of each process stands between the head and the hottest lines of all.
    head, _, rest = apart.partition("Process ")
    assert together.startswith(head.rstrip("\u2500 \n"))
    sections = rest.split("Hottest lines")[0].split("Process ")
    assert len(sections) == 3
    assert [f"app.py:{LINE} " in section for section in sections] == [True, True, False]
    saved = rscalene("run", "-q", "--per-process", "-o", "out.txt", "app.py")
    assert saved.returncode == 0
    assert (tmp_path / "out.txt").read_text().count(f"app.py:{LINE} ") > 2


WORKERS = """import os, time
def work():
    block = bytearray(40 << 20)  # held
    block[::4096] = b"x" * len(range(0, len(block), 4096))
    time.sleep(0.1)
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_workers_in_turn_hold_no_more_than_one_of_them_at_the_peak(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    rscalene("run", "-q", "-o", "profile.json", "workers.py")
    profile = json.loads((tmp_path / "profile.json").read_text())
    (held,) = [row for file in profile["files"] for row in file["lines"] if "# held" in (row["source"] or "")]
    assert held["alloc_bytes"] == pytest.approx(160 << 20, rel=0.01)
    assert held["peak_bytes"] == pytest.approx(40 << 20, rel=0.01)
    assert held["live_bytes"] == 0
    assert 40 << 20 < profile["totals"]["footprint_peak_bytes"] < 80 << 20
