"""Whose line is it, where code has no file, a relative name, or a file that an installer put beside the program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Lines = dict[str, dict[int, float]]

BURN = "import time\n\ndef burn(seconds):\n    end = time.process_time() + seconds\n"
BURN += "    while time.process_time() < end:\n        sum(range(2000))\n"


@pytest.fixture
def lines(rscalene: Run, tmp_path: Path) -> Callable[..., Lines]:
    """CPU seconds by file and line of ``app.py``; a file's name is relative to the folder of the program."""

    def run(source: str, *words: str, **options: object) -> Lines:
        (tmp_path / "app.py").write_text(source)
        done = rscalene("run", "-q", "-o", "profile.json", *(words or ("app.py",)), **options)
        assert done.returncode == 0, done.stderr
        profile: dict[str, Any] = json.loads((tmp_path / "profile.json").read_text())
        keys = ("python_s", "native_s", "system_s", "helpers_s")
        return {
            file["path"].removeprefix(f"{tmp_path}/"): {
                line["line"]: sum(line.get(key) or 0 for key in keys) for line in file["lines"]
            }
            for file in profile["files"]
            if any(any(line.get(key) for key in keys) for line in file["lines"])
        }

    return run


def package(folder: Path, name: str, source: str) -> Path:
    """A module in a folder named ``site-packages``."""
    place = folder / "site-packages" / name
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(source)
    return place.parent


def test_two_texts_that_a_file_executes_do_not_share_their_lines(lines: Callable[..., Lines]) -> None:
    work = "end = time.process_time() + {}\nwhile time.process_time() < end: sum(range(2000))\n"
    source = f"import time\nfirst = {work.format(0.3)!r}\nsecond = {work.format(0.5) + 'done = 1'!r}\n"
    found = lines(source + "exec(first)\nexec(second)\n")
    seconds = sorted(sum(rows.values()) for path, rows in found.items() if path.startswith("<string>"))
    assert len(seconds) == 2, found
    assert seconds[0] == pytest.approx(0.3, abs=0.1)
    assert seconds[1] == pytest.approx(0.5, abs=0.1)


WRAPS = """import time
def wrap(function):
    space = {"function": function, "time": time}
    exec('''def wrapper(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(2000))
    return function(seconds)
''', space)
    return space["wrapper"]
"""


def test_a_wrapper_that_a_library_generates_belongs_to_the_line_that_calls_it(
    lines: Callable[..., Lines], tmp_path: Path
) -> None:
    libraries = package(tmp_path, "wraps", WRAPS)
    source = f"import sys\nsys.path.insert(0, {str(libraries)!r})\nimport wraps\n"
    found = lines(source + "f = wraps.wrap(abs)\nf(0.4)\n")
    assert found["app.py"][5] == pytest.approx(0.4, abs=0.1)
    assert "<string>" not in found


def test_a_function_that_the_user_s_own_code_generates_is_the_user_s(lines: Callable[..., Lines]) -> None:
    source = f"space = {{}}\nexec({BURN!r}, space)\nspace['burn'](0.4)\n"
    found = lines(source)
    assert sum(found["<string>"].values()) == pytest.approx(0.4, abs=0.1)


def test_a_function_that_was_sent_without_its_file_name_pairs_with_its_source(lines: Callable[..., Lines]) -> None:
    sent = "import types\ncode = burn.__code__.replace(co_filename='<dynamic-code>')\n"
    found = lines(f"{BURN}{sent}types.FunctionType(code, globals())(0.4)\n")
    assert found["app.py"][6] == pytest.approx(0.4, abs=0.15)
    assert "<dynamic-code>" not in found


def test_a_relative_name_counts_from_the_folder_where_it_was_compiled(
    lines: Callable[..., Lines], tmp_path: Path
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/late.py").write_text(f"{BURN}burn(0.4)\n")
    found = lines("import os\nos.chdir('jobs')\nexec(compile(open('late.py').read(), 'late.py', 'exec'))\n")
    assert sum(found["jobs/late.py"].values()) == pytest.approx(0.4, abs=0.1)


def test_packages_installed_beside_the_program_are_libraries(lines: Callable[..., Lines], tmp_path: Path) -> None:
    (tmp_path / "vendored.py").write_text(BURN)
    (tmp_path / "vendored-1.0.dist-info").mkdir()
    (tmp_path / "vendored-1.0.dist-info/RECORD").write_text("vendored.py,sha256=0,100\n")
    found = lines("import vendored\nvendored.burn(0.4)\n")
    assert found["app.py"][2] == pytest.approx(0.4, abs=0.1)
    assert "vendored.py" not in found


def test_an_installed_program_that_is_itself_the_target_has_its_package_in_scope(
    lines: Callable[..., Lines], tmp_path: Path, clean_env: dict[str, str]
) -> None:
    (tmp_path / "target/tool").mkdir(parents=True)
    (tmp_path / "target/tool/__init__.py").write_text("")
    (tmp_path / "target/tool/__main__.py").write_text(f"{BURN}burn(0.4)\n")
    (tmp_path / "target/tool-1.0.dist-info").mkdir()
    (tmp_path / "target/tool-1.0.dist-info/RECORD").write_text("tool/__main__.py,,\ntool/__init__.py,,\n")
    env = clean_env | {"PYTHONPATH": str(tmp_path / "target")}
    found = lines("", "-m", "tool", env=env)
    assert sum(found["target/tool/__main__.py"].values()) == pytest.approx(0.4, abs=0.1)


def test_where_the_scope_hides_most_of_the_time_the_report_names_the_folder_and_the_option(
    lines: Callable[..., Lines], tmp_path: Path, clean_env: dict[str, str], rscalene: Run
) -> None:
    libraries = package(tmp_path, "busy", f"{BURN}burn(0.4)\n")
    (libraries / "pytest").mkdir()
    (libraries / "pytest/__init__.py").write_text("import busy\n")
    (libraries / "pytest/__main__.py").write_text("")
    lines("", "-m", "pytest", env=clean_env | {"PYTHONPATH": str(libraries)})
    said = rscalene("view", "--color", "never", "--width", "400", "profile.json").stdout
    assert "`--include busy`" in said
    assert f"in {libraries}/busy" in said
