"""The pytest plugin beside pytest-xdist, pytest-asyncio, pytest-django and coverage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SUITE = """
import asyncio, sqlite3, pytest
connection = sqlite3.connect(":memory:")

@pytest.mark.parametrize("number", range(8))
def test_plain(number):
    for _ in range(number):
        connection.execute("select 1").fetchall()

@pytest.mark.asyncio
@pytest.mark.limits(queries=1)
async def test_async():
    await asyncio.sleep(0)
    connection.execute("select 1").fetchall()

@pytest.mark.asyncio
@pytest.mark.limits(queries=0)
async def test_async_too_many():
    await asyncio.sleep(0)
    connection.execute("select 1").fetchall()
"""


def run(folder: Path, *arguments: str) -> tuple[str, dict[str, dict[str, float]]]:
    (folder / "test_it.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--rscalene-json",
        "out.json",
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "queries: 1, the limit is 0" in done.stdout
    profile = json.loads((folder / "out.json").read_text())
    return done.stdout, profile["tests"]


def test_workers_make_one_report(tmp_path: Path) -> None:
    alone, one = run(tmp_path)
    together, many = run(tmp_path, "-n", "2")
    queries = {name: test["queries"] for name, test in one.items()}
    assert sum(queries.values()) == sum(range(8)) + 2
    assert queries == {name: test["queries"] for name, test in many.items()}
    for text in (alone, together):
        assert text.count("rscalene: tests that cost most") == 1
        assert "1 failed, 9 passed" in text


def test_coverage_beside_it_is_the_same(tmp_path: Path) -> None:
    _, plain = run(tmp_path)
    (tmp_path / "test_it.py").write_text(SUITE)
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rscalene"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "1 failed, 9 passed" in done.stdout, done.stdout + done.stderr
    report = subprocess.run(
        [sys.executable, "-m", "coverage", "report"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "test_it.py" in report.stdout
    assert "100%" in report.stdout
    assert len(plain) == 10
