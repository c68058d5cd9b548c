"""Sub-interpreters: their lines are the program's, whichever thread runs them and whoever has the GIL."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from accuracy.test_time import clock_adds_up, tolerance


@pytest.mark.parametrize("where", ["here", "thread"])
@pytest.mark.parametrize("lock", ["shared", "own"])
def test_lines_of_a_sub_interpreter_are_reported(
    measure: Any, source: str, interpreter: str, lock: str, where: str
) -> None:
    version = subprocess.run([interpreter, "-c", "import sys; print(sys.version_info >= (3, 12))"], capture_output=True)
    if lock == "own" and version.stdout.strip() != b"True":
        pytest.skip("the GIL is everybody's before 3.12")
    run = measure("interpreters.py", "0.6", lock, where, options=("--cpu-source", source, "--interval", "2ms"))
    times = {name: run.truth[name] for name in ("outer", "inside", "native")}
    total = sum(times.values())
    for name, truth in times.items():
        share = truth / total
        spent = run.line(name).cpu_s + run.line(f"{name}_loop").cpu_s
        assert spent / total == pytest.approx(share, abs=0.02 + tolerance(share, run)), name
    assert run.line("inside").python_s / run.line("inside").cpu_s >= 0.9
    assert run.line("native").native_s / run.line("native").cpu_s >= 0.9
    assert run.line("sleep").wait_s == pytest.approx(0.4, abs=0.1)
    assert run.line("bytes").bytes("alloc_bytes") == pytest.approx(31 << 20, rel=0.05)
    assert clock_adds_up(run)
