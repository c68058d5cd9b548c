"""Programs that run already, for those who look at them from outside."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, clean_env: dict[str, str]) -> Iterator[Start]:
    """Start ``python WORDS...`` (or code), wait for its first line, and end it with the test."""
    with contextlib.ExitStack() as stack:

        def begin(*words: str | Path, code: str | None = None) -> subprocess.Popen[str]:
            if code is not None:
                (tmp_path / "app.py").write_text(code)
                words = (tmp_path / "app.py", *words)
            program = subprocess.Popen(
                [sys.executable, *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env=clean_env,
            )
            # Left, it closes its pipes and is waited for; a test may have closed one before.
            stack.enter_context(program)
            stack.callback(program.kill)
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            return program

        yield begin


@pytest.fixture
def profile_of(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Read a profile that was saved as ``p.json``."""
    return lambda name="p.json": json.loads((tmp_path / name).read_text())


def lines_of(profile: dict[str, Any], name: str) -> dict[int, dict[str, Any]]:
    """Return the lines of the file called ``name``, by number."""
    files = [file for file in profile["files"] if Path(file["path"]).name == name]
    return {line["line"]: line for file in files for line in file["lines"]}
