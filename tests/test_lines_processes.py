"""``rscalene lines`` and processes: children's calls are in the tables, and every end leaves them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from conftest import Run

POOL = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor

@profile
def work(n):
    total = 0
    for k in range(n):
        total += k
    return total

if __name__ == "__main__":
    how, kind = sys.argv[1:3]
    context = multiprocessing.get_context(how)
    if kind == "pool":
        with context.Pool(2) as pool:
            print(sum(pool.map(work, [100] * 6)))
    elif kind == "executor":
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            print(sum(pool.map(work, [100] * 6)))
    else:
        children = [context.Process(target=work, args=(100,)) for _ in range(6)]
        [child.start() for child in children]
        [child.join() for child in children]
        print(sum(4950 for child in children if child.exitcode == 0))
"""


@pytest.mark.parametrize("kind", ["pool", "executor", "process"])
@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_calls_in_children_are_in_the_table(rscalene: Run, tmp_path: Path, how: str, kind: str) -> None:
    (tmp_path / "app.py").write_text(POOL)
    done = rscalene("lines", "--time", "-o", "table.txt", "app.py", how, kind)
    assert (done.returncode, done.stdout, done.stderr) == (0, "29700\n", "")
    (line,) = [line for line in (tmp_path / "table.txt").read_text().splitlines() if "total += k" in line]
    assert line.split()[1] == "600", line


ENDS = """
import os, signal, sys, threading, time

@profile
def work():
    return [bytes(1000) for _ in range(1000)]

work()
sys.stdout.write("said\\n")
how = sys.argv[1]
if how == "_exit":
    sys.stdout.flush()
    os._exit(7)
elif how == "thread":
    sys.stdout.flush()
    threading.Thread(target=os._exit, args=(7,)).start()
    time.sleep(10)
elif how == "exit":
    sys.exit(7)
else:
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(10)
"""


@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("how", ["exit", "_exit", "thread", "SIGTERM", "SIGHUP", "SIGINT"])
def test_every_end_leaves_the_table(rscalene: Run, tmp_path: Path, how: str, to_file: bool) -> None:
    (tmp_path / "app.py").write_text(ENDS)
    output = ["-o", "table.txt"] if to_file else []
    done = rscalene("lines", *output, "app.py", how)
    code = {"SIGINT": 130}.get(how) or (-signal.Signals[how] if how.startswith("SIG") else 7)
    assert done.returncode == code, done.stderr
    text = (tmp_path / "table.txt").read_text() if to_file else done.stdout.partition("said\n")[2]
    assert text.count("bytes(1000)") == 1
    assert done.stdout.startswith("said\n")


@pytest.mark.parametrize(
    ("program", "why"),
    [("print(1)", "no function is marked"), ("@profile\ndef f(): pass\nprint(1)", "no marked function was called")],
)
def test_a_run_without_a_table_gives_the_reason(rscalene: Run, tmp_path: Path, program: str, why: str) -> None:
    (tmp_path / "app.py").write_text(program)
    done = rscalene("lines", "app.py")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert f"no table: {why}\nhint: " in done.stderr
