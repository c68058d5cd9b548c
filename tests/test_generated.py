"""Code that a library generates is shown with its text, if the library put the text into ``linecache``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = '''
import linecache, time
def make(name, text, tell=True):
    if tell:
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    space = {{}}
    exec(compile(text, name, "exec"), space)
    return space["spin"]
text = """def spin(seconds):
    "Ähnlich {long}"
    end = time.process_time() + seconds
    while time.process_time() < end: pass
import time
"""
make({name!r}, text)(0.4)
make("<without a text>", text, False)(0.4)
'''


@pytest.mark.parametrize("name", ["<generated spin>", "<generated " + "x" * 100 + ">"], ids=["short", "long"])
def test_the_text_of_generated_code_is_read_from_linecache(rscalene: Run, tmp_path: Path, name: str) -> None:
    long = "y" * 600
    (tmp_path / "app.py").write_text(PROGRAM.format(name=name, long=long))
    result = rscalene("run", "-q", "-o", "out.json", "app.py")
    assert result.returncode == 0, result.stderr
    files = {file["path"]: file for file in json.loads((tmp_path / "out.json").read_text())["files"]}
    lines = {line["line"]: line["source"] for line in files[name]["lines"]}
    assert lines[4] == "    while time.process_time() < end: pass"
    assert {line["source"] for line in files["<without a text>"]["lines"]} == {None}


def test_a_text_that_comes_late_is_shown_all_the_same(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        """
import linecache, time
text = "def spin(end):\\n    while time.process_time() < end: pass\\nimport time\\n"
space = {}
exec(compile(text, "<late>", "exec"), space)
space["spin"](0.3)
linecache.cache["<late>"] = (len(text), None, text.splitlines(True), "<late>")
space["spin"](1.2)
"""
    )
    assert rscalene("run", "-q", "-o", "out.json", "app.py").returncode == 0
    files = {file["path"]: file for file in json.loads((tmp_path / "out.json").read_text())["files"]}
    assert {line["line"]: line["source"] for line in files["<late>"]["lines"]}[2] == (
        "    while time.process_time() < end: pass"
    )
