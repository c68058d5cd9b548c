"""``rscalene.limits`` and the pytest plugin's marks and reports."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import rscalene

SUITE = """
import sqlite3, time, unittest, pytest
connection = sqlite3.connect(":memory:")
connection.execute("create table t (x)")
HELD = []

@pytest.mark.limits(queries=1, n_plus_one=False, peak="4 MB", kept=0)
def test_within():
    connection.execute("select 1").fetchall()
    bytearray(3_000_017)

@pytest.mark.limits(n_plus_one=False)
def test_n_plus_one():
    for number in range(6):
        connection.execute("select x from t where x = ?", (number,)).fetchall()

@pytest.mark.limits(peak="4 MB")
def test_peak():
    bytearray(5_000_011)

@pytest.mark.limit_memory("4 MB")
def test_memory_as_memray_says():
    bytearray(5_000_011)

@pytest.mark.limit_leaks("100 KB")
def test_leak():
    HELD.append(bytearray(900_003))

class Case(unittest.TestCase):
    def setUp(self):
        connection.execute("select 2").fetchall()

    @pytest.mark.limits(queries=1)
    def test_within(self):
        connection.execute("select 3").fetchall()

    @pytest.mark.limits(queries=0)
    def test_too_many(self):
        connection.execute("select 4").fetchall()

def test_busy():
    until = time.thread_time() + 0.2
    while time.thread_time() < until:
        pass
"""


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout + done.stderr


def test_marks_fail_what_takes_more_and_name_the_line(tmp_path: Path) -> None:
    code, text = run(tmp_path)
    assert code == 1, text
    assert "5 failed, 3 passed" in text
    for line in (
        "N+1: 6 times",
        'connection.execute("select x from t where x = ?", (number,)).fetchall()',
        "peak: 4.8 MiB, the limit is 3.8 MiB",
        ", the limit is 97.7 KiB",
        "HELD.append(bytearray(900_003))",
        "queries: 1, the limit is 0",
    ):
        assert line in text, line
    assert "rscalene: hottest lines" not in text


def test_a_session_is_profiled_when_asked(tmp_path: Path) -> None:
    code, text = run(
        tmp_path, "--rscalene", "--rscalene-json", "base.json", "--rscalene-html", "base.html", "-k", "busy or plus"
    )
    assert code == 1, text
    assert "rscalene: hottest lines" in text
    assert "while time.thread_time() < until" in text
    assert "[1 N+1]" in text
    profile = json.loads((tmp_path / "base.json").read_text())
    assert profile["tests"]["test_it.py::test_n_plus_one"]["queries"] == 6
    assert profile["tests"]["test_it.py::test_busy"]["cpu_s"] == pytest.approx(0.2, abs=0.05)
    assert rscalene.load(tmp_path / "base.json").totals["alloc_bytes"] > 0
    assert "</html>" in (tmp_path / "base.html").read_text()


def test_a_session_that_grew_fails(tmp_path: Path) -> None:
    run(tmp_path, "--rscalene-json", "base.json", "-k", "busy")
    same = run(tmp_path, "-k", "busy", "--rscalene-diff", "base.json", "--rscalene-fail", "queries>0,cpu>+50%")
    assert same[0] == 0, same[1]
    more = ("-k", "(busy or within) and not Case", "--rscalene-diff", "base.json")
    grown = run(tmp_path, *more, "--rscalene-fail", "queries>0,alloc>+1MB")
    assert grown[0] == 1
    assert "failed: queries>0: 0 -> 1" in grown[1]
    assert "failed: alloc>+1MB" in grown[1]
    for wrong in ("speed>1", "alloc>+5ms"):
        code, text = run(tmp_path, *more, "--rscalene-fail", wrong)
        assert code == 4
        assert "cannot understand the rule" in text


def test_a_block_that_takes_more_is_refused() -> None:
    wide = rscalene.limits(queries=2, wall=5.0, cpu="5 s", peak="1 MB", allocated="1 MB", kept="1 MB")
    with wide, closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("select 1").fetchall()

    def busy() -> None:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass

    with pytest.raises(AssertionError, match=r"cpu: .* the limit is 10 ms \(5% and 1 ms more are allowed as noise\)"):
        rscalene.limits(cpu="10 ms")(busy)()
    with pytest.raises(AssertionError, match=r"allocated: 9\.5 MiB, the limit is 8\.6 MiB"):
        rscalene.limits(allocated=9_000_011)(lambda: [bytearray(1_000_003) for _ in range(10)] and None)()


def test_an_exception_goes_on_and_nothing_is_judged() -> None:
    def fail() -> None:
        with rscalene.limits(queries=0), closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("select 1")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()


@pytest.mark.parametrize("wrong", [{"wall": "fast"}, {"peak": "8 parsecs"}, {"peak": -1}, {"kept": 1.5}, {"cpu": True}])
def test_amounts_without_a_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        rscalene.limits(**wrong)  # type: ignore[arg-type]
