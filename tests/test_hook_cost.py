"""What a call of the allocator costs that is not recorded, in instructions: counted one by one, so exact."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import rscalene
from compiled import compiled

STEPS = Path(__file__).parent / "accuracy" / "programs" / "steps.c"
SHIM = Path(rscalene.__file__).parent / "librscalene_shim.so"

GOLDEN = {"x86_64": {"malloc": 10, "free": 13, "calloc": 12, "realloc": 19, "memcpy": 11}}
"""Instructions that the hooks add to a call, by machine. Change them with the change that moves them."""

TOLERANCE = 2
"""What another release of the compiler may order differently."""

ELSEWHERE = 30
"""No hook is dearer than this where nobody has counted yet."""


def test_a_call_that_is_not_recorded_costs_a_handful_of_instructions(clean_env: dict[str, str]) -> None:
    program = compiled(STEPS, program=True)
    counts = []
    for preload in ({}, {"LD_PRELOAD": str(SHIM)}):
        done = subprocess.run([program], env={**clean_env, **preload}, capture_output=True, text=True, check=True)
        counts.append(json.loads(done.stdout))
    without, hooked = counts
    added = {name: hooked[name] - without[name] for name in without}
    golden = GOLDEN.get(os.uname().machine)
    if golden is None:
        assert all(0 < count <= ELSEWHERE for count in added.values()), added
    else:
        assert all(abs(added[name] - golden[name]) <= TOLERANCE for name in golden), added
