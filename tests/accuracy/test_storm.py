"""A storm of samples over frames that come and go: nothing breaks, no line is wrong, losses are counted."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest

SECONDS = os.environ.get("RSCALENE_STORM_SECONDS", "1.5")
"""CPU seconds of the storm. At 50 us a sample, a million samples take about a hundred."""
PROGRAM = Path(__file__).parent / "programs" / "storm.py"


def lines_with_code() -> dict[str, set[int]]:
    """Function name -> the lines on which its code may be running."""
    found: dict[str, set[int]] = {}
    tree = ast.parse(PROGRAM.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = {
                number
                for inner in ast.walk(node)
                if isinstance(inner, ast.stmt | ast.expr)
                for number in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1)
            }
            found.setdefault(node.name, set()).update(body | {node.lineno})
    return found


@pytest.mark.timeout(900)
def test_a_storm_of_frames_breaks_nothing_and_names_no_wrong_line(measure: Any, source: str) -> None:
    options = ("--cpu-source", source, "--interval", "50us", "--min-percent", "0")
    run = measure("storm.py", SECONDS, options=options, timeout=800)
    assert run.truth["rounds"] > 0
    totals = run.profile["totals"]
    samples = totals["cpu_samples"]
    assert samples > 20 * float(SECONDS)
    # What did not arrive is counted, and is the exception.
    assert totals["lost_records"] <= 0.05 * (samples + totals["lost_records"])
    code = lines_with_code()
    everywhere = set.union(*code.values())
    module = {node.lineno for node in ast.parse(PROGRAM.read_text()).body}
    for file in run.profile["files"]:
        numbers = {row["line"] for row in file["lines"] if row["cpu_samples"]}
        if file["path"] == str(PROGRAM):
            assert numbers <= everywhere | module, file["path"]
        elif re.fullmatch(r"<generated \d>", file["path"]):
            assert numbers <= {1, 2, 3, 4}, file["path"]
    parts = [row for file in run.profile["files"] for row in file["lines"]] + [totals["outside_scope"]]
    booked = sum((row[key] or 0.0) for row in parts for key in ("python_s", "native_s", "system_s"))
    assert booked == pytest.approx(totals["cpu_clock_s"], rel=0.03)
