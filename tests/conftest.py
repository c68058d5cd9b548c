"""What every test module shares: the command under test and a place to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def clean_env() -> dict[str, str]:
    """Environment without anything that changes how rscalene or Python behave."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RSCALENE_", "PYTHON", "LD_")) and name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    }


@pytest.fixture
def rscalene(tmp_path: Path, clean_env: dict[str, str]) -> Run:
    """Run ``rscalene WORDS...`` in ``tmp_path`` with pipes for all three streams."""

    def run(*words: str | Path, input: str = "", **options: object) -> subprocess.CompletedProcess[str]:
        return invoke([sys.executable, "-m", "rscalene", *map(str, words)], tmp_path, clean_env, input, options)

    return run


@pytest.fixture
def python(tmp_path: Path, clean_env: dict[str, str]) -> Run:
    """Run plain ``python WORDS...`` the same way, to compare with."""

    def run(*words: str | Path, input: str = "", **options: object) -> subprocess.CompletedProcess[str]:
        return invoke([sys.executable, *map(str, words)], tmp_path, clean_env, input, options)

    return run


def invoke(
    command: Sequence[str], cwd: Path, env: dict[str, str], input: str, options: dict[str, object]
) -> subprocess.CompletedProcess[str]:
    """Run one command; ``options`` override what ``subprocess.run`` is given."""
    arguments: dict[str, object] = {"cwd": cwd, "env": env, "input": input, "timeout": 60, **options}
    return subprocess.run(command, capture_output=True, text=True, check=False, **arguments)  # type: ignore[call-overload, no-any-return]
