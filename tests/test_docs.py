"""The documentation says what is true: its commands, options and names exist, and its Python runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import rscalene

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

#: Pages whose Python stands in a context that it names (``work()``, a notebook): it is compiled, not run.
FRAGMENTS = {"README.md"}
#: Pages whose Python is run by the tests of what they describe.
RUN_ELSEWHERE = {"docs/web.md", "docs/sql.md", "docs/testing.md", "docs/attach.md", "docs/clusters.md"}

#: Packages that import a framework, which not every environment has: their names are looked for in the source.
FRAMEWORKS = {"dask", "django", "flask", "spark"}


def blocks(page: Path, language: str) -> Iterator[str]:
    """Fenced blocks of one language."""
    yield from re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.M | re.S)


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every ``rscalene ...`` that the page tells a reader to type."""
    text = page.read_text()
    typed = [line.strip()[2:] for block in blocks(page, "console") for line in block.splitlines() if "$ " in line[:6]]
    typed += re.findall(r"`((?:python -m )?rscalene [a-z][^`]*)`", text)
    for line in typed:
        words = shlex.split(line.replace("...", "X"), comments=True)
        if words[:1] == ["rscalene"] and len(words) > 1:
            yield words[1:]


@cache
def help_of(*words: str) -> str:
    """What ``rscalene WORDS --help`` prints."""
    command = [sys.executable, "-m", "rscalene", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_exists(name: str) -> None:
    known = set(re.findall(r"^  ([a-z]+)", help_of(), re.M))
    for command, *words in commands(ROOT / name):
        if command.startswith("-"):
            continue
        assert command in known, f"rscalene {command}"
        text = help_of(command) if command != "help" else ""
        takes = dict(re.findall(r"(--[a-z-]+|-[a-zA-Z])\b[ =](<[A-Z])", text))
        takes |= dict(re.findall(r"(-[a-zA-Z]), --[a-z-]+ (<)", text))
        words_left = iter(words)
        for word in words_left:
            if not re.match(r"--?[a-zA-Z]", word):
                # Behind the program's name the words are the program's.
                if command in ("run", "lines"):
                    break
                continue
            option = word.split("=")[0]
            if command in ("run", "lines") and option in ("-m", "-c"):
                break
            assert re.search(rf"(^|[ ,]){re.escape(option)}\b", text, re.M), f"rscalene {command} {option}"
            if option in takes and "=" not in word:
                next(words_left, None)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_package_exists(name: str) -> None:
    for path in set(re.findall(r"\brscalene\.([A-Za-z_][\w.]*)", (ROOT / name).read_text())):
        first, *rest = path.rstrip(".").split(".")
        if first in ("json", "html", "txt", "png"):
            continue
        if first in FRAMEWORKS:
            package = Path(rscalene.__file__).parent / first
            module = package / f"{rest[0] if rest else ''}.py"
            text = (module if module.exists() else package / "__init__.py").read_text()
            assert not rest or re.search(rf"\b{rest[-1]}\b", text), path
            continue
        value = getattr(rscalene, first, None)
        if value is None:
            value = __import__(f"rscalene.{first}", fromlist=["_"])
        for part in rest:
            value = getattr(value, part, None) or __import__(f"rscalene.{path}", fromlist=["_"])


@pytest.mark.parametrize("name", NAMES)
def test_every_python_block_runs(name: str, tmp_path: Path) -> None:
    if name in RUN_ELSEWHERE:
        return
    # Blocks that read a profile find one.
    saved = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "run.json", "-c", "sum(range(10**6))"]
    subprocess.run(saved, cwd=tmp_path, check=True, timeout=60)
    for block in blocks(ROOT / name, "python"):
        if "%" in "".join(line[:1] for line in block.splitlines()):
            continue
        if name in FRAGMENTS or "@app" in block:
            compile(block.replace("...", "pass"), name, "exec")
            continue
        program = tmp_path / "block.py"
        program.write_text(block)
        done = subprocess.run(
            [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_the_package_lists_its_names_and_describes_itself() -> None:
    listed = dir(rscalene)
    for name in [*rscalene.__all__, "compat"]:
        assert name in listed
        assert getattr(rscalene, name) is not None
    shown = subprocess.run(
        [sys.executable, "-c", "import rscalene; help(rscalene)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    for name in ("profile", "Profiler", "Result", "timer", "memory_usage", "compat"):
        assert re.search(rf"\b{name}\b", shown), name
    assert "rscalene run app.py" in shown
