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
SOURCE = PROGRAM.read_text().splitlines()


Frame = tuple[str, str, int]
"""File, qualified name, line."""


def bodies() -> dict[str, set[int]]:
    """Qualified name -> the lines on which its code may be running, by the source alone."""
    found: dict[str, set[int]] = {}

    def visit(node: ast.AST, name: str) -> None:
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.FunctionDef | ast.ClassDef):
                own = f"{name}.{inner.name}" if isinstance(node, ast.ClassDef) else inner.name
                found[name].add(inner.lineno)
                found[own] = {inner.lineno}
                visit(inner, own)
            else:
                if isinstance(inner, ast.stmt | ast.expr):
                    found[name].update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
                visit(inner, name)

    tree = ast.parse(PROGRAM.read_text())
    found["<module>"] = {node.lineno for node in tree.body}
    visit(tree, "<module>")
    return found


def edges(profile: dict[str, Any]) -> set[tuple[Frame | None, Frame]]:
    """Every pair of caller and callee in the profile's stacks."""
    stacks = profile["stacks"]
    paths = [file["path"] for file in profile["files"]] + stacks["other_files"]
    frames = [(paths[frame["file"]], frame["function"], frame["line"]) for frame in stacks["frames"]]
    nodes = stacks["nodes"]
    callers = [None if node["parent"] is None else frames[nodes[node["parent"]]["frame"]] for node in nodes]
    return {(caller, frames[node["frame"]]) for caller, node in zip(callers, nodes, strict=True)}


def came_by_perf(run: Any) -> bool:
    """Perf comes when it is asked to, the timer at the kernel's ticks, which are few."""
    return bool(run.profile["settings"]["cpu"]["source"] == "perf")


def is_legal(caller: Frame | None, callee: Frame, body: dict[str, set[int]]) -> bool:
    """Can the program be on this line of this function, called from that line?"""
    path, name, line = callee
    generated = re.fullmatch(r"<generated (\d)>", path)
    if generated:
        # Code that is gone at once: its memory serves the next, which has another name and, mostly, another file.
        number = re.fullmatch(r"generated_(\d+)", name)
        if number is None:
            own = name == "<module>" and line in (0, 1)
        else:
            own = int(number[1]) % 7 == int(generated[1]) and 1 <= line <= 4
        call = "exec(" if number is None else "scope[f"
        return own and caller is not None and caller[1] == "dying" and call in SOURCE[caller[2] - 1]
    if path != str(PROGRAM):
        return True
    outer, _, inner = name.partition(".<locals>.")
    if line not in body.get(outer, ()) and not (name == "<module>" and line == 0):
        return False
    if name in ("<module>", "Knot.__del__"):
        # The collector runs wherever something is allocated.
        return True
    if caller is None:
        return False
    if caller[0] != str(PROGRAM):
        return (caller[1], name) == ("Thread.run", "short")
    text = SOURCE[caller[2] - 1]
    if name == "Knot":
        return text == "class Knot:"
    if inner:
        return caller[1:] == (outer, line)
    return (outer.removesuffix(".__init__") + "(") in text


@pytest.mark.timeout(900)
def test_a_storm_of_frames_breaks_nothing_and_names_no_wrong_line(measure: Any, source: str) -> None:
    options = ("--cpu-source", source, "--interval", "50us", "--min-percent", "0")
    run = measure("storm.py", SECONDS, options=options, timeout=800)
    assert run.truth["rounds"] > 0
    totals = run.profile["totals"]
    samples = totals["cpu_samples"]
    print(f"{samples:,} samples, {totals['lost_records']:,} lost records")
    assert samples > (1_000 if came_by_perf(run) else 20) * float(SECONDS)
    # What did not arrive is counted, and is the exception.
    assert totals["lost_records"] <= 0.05 * (samples + totals["lost_records"])
    body = bodies()
    seen = edges(run.profile)
    assert {callee[1] for _, callee in seen} >= {"deep", "dying", "short", "storm", "deep.<locals>.<genexpr>"}
    wrong = [edge for edge in seen if not is_legal(*edge, body)]
    # A frame whose callers could not be read is told as a loss.
    unknown = [edge for edge in wrong if edge[0] is None]
    assert len(unknown) <= totals["lost_records"], unknown
    assert [edge for edge in wrong if edge not in unknown] == []
    everywhere = set.union(*body.values())
    for file in run.profile["files"]:
        numbers = {row["line"] for row in file["lines"] if row["cpu_samples"]}
        assert numbers <= (everywhere if file["path"] == str(PROGRAM) else {1, 2, 3, 4}), file["path"]
    parts = [row for file in run.profile["files"] for row in file["lines"]] + [totals["outside_scope"]]
    booked = sum((row.get(key) or 0.0) for row in parts for key in ("python_s", "native_s", "system_s", "user_s"))
    assert booked == pytest.approx(totals["cpu_clock_s"], rel=0.03)


def test_a_function_is_called_by_the_one_that_calls_it(measure: Any, source: str) -> None:
    """Frames of a generator and of what runs it lie in turn in the same place: what is left there is no caller."""
    run = measure("callers.py", "1", options=("--cpu-only", "--cpu-source", source, "--interval", "100us"))
    callers: dict[str, list[str | None]] = {}
    for caller, callee in edges(run.profile):
        callers.setdefault(callee[1], []).append(caller and caller[1])
    squares = "inner.<locals>.squares"
    unknown = 0
    for name, expected in {
        "numbers.<locals>.<lambda>": {"numbers"},
        "plain": {"loop", "inner"},
        f"{squares}.<locals>.<genexpr>": {squares},
        squares: {"inner"},
    }.items():
        found = set(callers.get(name, []))
        assert found - {None} <= expected, name
        assert not came_by_perf(run) or found >= expected, name
        unknown += callers.get(name, []).count(None)
    assert unknown <= run.profile["totals"]["lost_records"]
