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
from suites import MARKERS, ONCE, TESTS, TIMED, suite_of

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make test-strict` count what needs a second try."""
    parser.addoption("--one-try", action="store_true", help="give a timed test that failed no second try")


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, and begin with default actions.

    A shell that runs tests in the background ignores some signals, and children inherit that.
    """
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the suites in folders, except one that is asked for by its folder or its marker."""
    suite = suite_of(collection_path)
    places = [config.invocation_params.dir / argument.split("::")[0] for argument in config.args]
    asked = suite.name in re.findall(r"\w+", config.option.markexpr) or any(
        place.resolve().is_relative_to(suite.folder) for place in places
    )
    return None if asked or suite.name == "plain" else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test by its file, and give measurements that failed two more tries: a wrong figure fails them all."""
    for item in items:
        first = item.path.relative_to(TESTS).parts[0]
        item.add_marker(suite_of(item.path).name)
        if first in ONCE:
            item.add_marker("once")
        if first in TIMED:
            item.add_marker("timed")
        if item.get_closest_marker("timed") and not config.option.one_try:
            item.add_marker(pytest.mark.flaky(reruns=2))


#: Variables of terminals, and ranks of the job that runs the tests.
UNWANTED = {
    "NO_COLOR", "FORCE_COLOR", "COLUMNS",
    "RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID", "JAX_PROCESS_ID",
}  # fmt: skip


@pytest.fixture(scope="session")
def plain_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment without anything that changes how rscalene or Python behave, and captures out of the user's way."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RSCALENE_", "PYTHON", "LD_")) and name not in UNWANTED
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
