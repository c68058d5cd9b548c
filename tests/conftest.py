"""What every test module shares: the command under test and a place to run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_configure() -> None:
    """Begin with default actions: a shell that runs tests in the background ignores some, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


# What is measured against a clock, or races with it, may be disturbed by whatever else the machine does.
TIMED = {
    "accuracy",
    "limits.py",
    "test_api_profiler.py",
    "test_api_sections.py",
    "test_cli_signals.py",
    "test_deaths.py",
    "test_neighbours.py",
    "test_notebook.py",
    "test_processes.py",
    "test_recover.py",
    "test_surroundings.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give measurements that failed two more tries: a wrong figure fails them all."""
    for item in items:
        if TIMED.intersection(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session")
def plain_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment without anything that changes how rscalene or Python behave, and captures out of the user's way."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RSCALENE_", "PYTHON", "LD_")) and name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    }
    return kept | {"XDG_STATE_HOME": str(tmp_path_factory.getbasetemp() / "state")}


@pytest.fixture
def clean_env(plain_env: dict[str, str]) -> dict[str, str]:
    """The same, to be changed by one test."""
    return dict(plain_env)


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
    """Run one command, behind a ``prefix``; the other ``options`` override what ``subprocess.run`` is given."""
    prefix: Sequence[str] = options.pop("prefix", ())  # type: ignore[assignment]
    arguments: dict[str, object] = {"cwd": cwd, "env": env, "input": input, "timeout": 60, **options}
    return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False, **arguments)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def alike(rscalene: Run, python: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Hold a program under ``rscalene run`` to what plain Python makes of it, and give the profile.

    The exit code is the one that a shell reports (128 + signal), both streams must be the same but for addresses.
    """

    def run(source: str, **options: object) -> dict[str, Any]:
        (tmp_path / "app.py").write_text(source)
        plain = python("app.py", **options)
        profiled = rscalene("run", "-q", "-o", "out.json", "app.py", **options)
        code = plain.returncode if plain.returncode >= 0 else 128 - plain.returncode
        assert (profiled.returncode, profiled.stdout) == (code, plain.stdout)
        assert without_addresses(profiled.stderr) == without_addresses(plain.stderr)
        profile: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
        return profile

    return run


def without_addresses(text: str) -> str:
    """Blank out what differs from one process to the next."""
    return re.sub(r"0x[0-9a-f]{8,}", "0x", text)
