"""What runs programs its own way, and what does its work in C, does the same under `rscalene run`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workload import WORK, dropped, seconds

Alike = Callable[..., dict[str, Any]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def words_alike(rscalene: Run, python: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Hold `python WORDS...` under `rscalene run` to what plain Python makes of it, and give the profile.

    What a run leaves is read by `left` after each of the two, and is to be the same, too.
    """

    def run(*words: str, left: Callable[[], object]) -> dict[str, Any]:
        plain = python(*words)
        left_by_plain = left()
        profiled = rscalene("run", "-q", "-o", "out.json", *words)
        assert profiled.returncode == plain.returncode
        assert without_times(profiled.stdout) == without_times(plain.stdout)
        assert without_times(profiled.stderr) == without_times(plain.stderr)
        assert left() == left_by_plain
        profile: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
        return profile

    return run


def without_times(text: str) -> str:
    """Blank out what differs from one run to the next: times, addresses, and rules beside times."""
    return re.sub(r"\b\d+\.\d+s\b|0x[0-9a-f]{8,}|={3,}", "0", text)


def test_coverage_counts_the_same_lines(words_alike: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        WORK
        + """
def odd(number):
    if number % 2:
        return "odd"
    return "even"
def never():
    return 1
work()
# 3.12 warns of a fork beside threads, and mostly still sees those that have just ended: so the fork comes first.
if os.fork() == 0:
    print([odd(number) for number in range(3)], flush=True)
    os._exit(0)
os.wait()
threads = [threading.Thread(target=odd, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
    thread.join()
try:
    raise ValueError(odd(1))
except ValueError as error:
    print(error)
"""
    )

    def counted() -> object:
        words = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-"]
        told = json.loads(subprocess.run(words, cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout)
        file = told["files"]["app.py"]
        return file["executed_lines"], file["executed_branches"], file["missing_lines"]

    profile = words_alike("-m", "coverage", "run", "--branch", "--include", "app.py", "app.py", left=counted)
    assert seconds(profile) > 0.05


def test_pytest_reports_the_same(words_alike: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(
        WORK
        + """
import pytest
@pytest.mark.parametrize("number", range(50))
def test_square(number, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("NUMBER", str(number))
    os.system("echo $NUMBER")
    (tmp_path / "file").write_text(capfd.readouterr().out)
    work(0.005)
    assert int((tmp_path / "file").read_text()) ** 2 == number * number
def test_that_fails():
    given = {"a": [1, 2, 3]}
    assert given == {"a": [1, 2, 4]}
@pytest.mark.skip
def test_skipped():
    pass
"""
    )
    words = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-rA", "--color=no", "test_app.py"]
    profile = words_alike(*words, left=lambda: None)
    assert seconds(profile) > 0.1


def test_numpy_and_pandas_compute_the_same(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
import numpy, pandas
rows = numpy.arange(300_000)
frame = pandas.DataFrame({"key": rows % 97, "value": rows * 0.5, "name": (rows % 13).astype(str)})
print(frame.groupby("key").value.agg(["sum", "mean", "max"]).head(3))
print(frame.sort_values(["name", "value"], ascending=[True, False]).head(3))
square = rows[:160_000].reshape(400, 400) / 1000
product = square @ square
for _ in range(10):
    added = square + product
print(added[1, 2], numpy.linalg.norm(product[:50, :50]))
print(pandas.read_csv(__import__("io").StringIO(frame.head(1000).to_csv(index=False))).describe())
"""
    )
    line = next(
        line
        for file in profile["files"]
        if file["path"].endswith("app.py")
        for line in file["lines"]
        if (line["source"] or "").strip() == "added = square + product"
    )
    assert line["alloc_bytes"] == pytest.approx(10 * 400 * 400 * 8, rel=0.02)


def test_sub_interpreters_behave_as_without_rscalene(alike: Alike) -> None:
    profile = alike(
        WORK
        + """
try:
    import _interpreters as interpreters
    run = interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
CODE = '''
import os, sys, time
class Kept:
    pass
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        kept = [Kept() for _ in range(100)]
burn(0.1)
os.write(1, b"in\\\\n")
def fails():
    raise LookupError("in the sub-interpreter")
if FAILS:
    fails()
'''
ids = [interpreters.create() for _ in range(3)]
for number, one in enumerate(ids):
    try:
        print(run(one, CODE.replace("FAILS", str(number == 1))) is None, flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
work()
# Python 3.11 by itself hangs where threads run sub-interpreters side by side.
several = ids if sys.version_info >= (3, 12) else []
threads = [threading.Thread(target=run, args=(one, CODE.replace("FAILS", "0"))) for one in several]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for one in ids:
    interpreters.destroy(one)
print(len(interpreters.list_all()))
"""
    )
    assert seconds(profile) > 0.1
    assert dropped(profile) == []
    assert sum(profile["totals"][key] or 0 for key in ("python_s", "native_s", "system_s")) > 0.35
