"""coverage.py beside ``@profile``: it sees the same lines, and so do we."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import rscalene


@rscalene.profile(precision=6)
def work(n):
    kept = []
    for i in range(n):
        if i == 3:
            kept.append(bytes(1009))
        elif i > 100:
            never = 1
    block = bytes(5003)
    return helper(kept)


def helper(kept):
    if not kept:
        return 0
    return len(kept)


@rscalene.profile(columns="time")
def generated(n):
    for i in range(n):
        yield i
    last = 0


work(10)
work(10)
list(generated(3))
"""


def measured(folder: Path, environment: dict[str, str], *words: str) -> dict[str, tuple[float, int]]:
    """Run the program and return increment (bytes) and hits of the lines of its second memory table."""
    ran = subprocess.run(
        [sys.executable, *words, "app.py"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    table = ran.stdout.split("Filename: ")[2].split("\n\n\n")[0].splitlines()[5:]
    rows = (row.split(maxsplit=6) for row in table if row.count("MiB") == 2)
    return {row[6]: (float(row[3]) * 2**20, int(row[5])) for row in rows}


def executed(folder: Path, environment: dict[str, str]) -> list[int]:
    """Return the lines that the last measurement by coverage.py saw."""
    words = [sys.executable, "-m", "coverage", "json", "-q", "-o", "seen.json"]
    subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=True)
    lines: list[int] = json.loads((folder / "seen.json").read_text())["files"]["app.py"]["executed_lines"]
    return lines


@pytest.mark.parametrize("core", ["ctrace", "sysmon", "pytrace"])
def test_two_profilers_together_see_the_same_as_alone(core: str, tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    # Where a core does not exist, coverage.py takes another one and warns.
    environment = {**clean_env, "COVERAGE_CORE": core}
    cover = ("-m", "coverage", "run", "--include=app.py")
    plain = measured(tmp_path, environment)
    together = measured(tmp_path, environment, *cover)
    assert together.keys() == plain.keys()
    for line, (increment, hits) in plain.items():
        assert together[line][1] == hits, line
        # A tracer written in Python takes from the interpreter's freelists and gives to them.
        assert together[line][0] == pytest.approx(increment, abs=64), line
    assert plain["block = bytes(5003)"][0] == pytest.approx(sys.getsizeof(bytes(5003)), abs=2)

    both = executed(tmp_path, environment)
    alone = {**environment, "RSCALENE": "0"}
    subprocess.run([sys.executable, *cover, "app.py"], cwd=tmp_path, env=alone, capture_output=True, check=True)
    assert both == executed(tmp_path, environment)
    source = PROGRAM.splitlines()
    missed = {source.index("            never = 1") + 1, source.index("        return 0") + 1}
    assert not missed & set(both)
    assert source.index("    last = 0") + 1 in both
