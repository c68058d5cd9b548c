"""What terminal, page and notebook answer for ordinary programs, beside the truth.

A program names its truth in comments: ``# slowest`` marks the line that a person would name, ``# peak`` the line that
holds most of the memory when the process is largest. A program without such a mark has no single such line.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
RSCALENE = (sys.executable, "-m", "rscalene")
LIMIT_S = 120


@dataclass(frozen=True)
class Program:
    """A program, by the file that has its truth."""

    name: str
    file: Path

    @property
    def what(self) -> str:
        """The first line of its docstring."""
        return self.file.read_text().split('"""')[1].strip().splitlines()[0]

    def truth(self, word: str) -> str | None:
        """Return ``file:line`` of the line that is marked with ``word``."""
        lines = enumerate(self.file.read_text().splitlines(), 1)
        found = [number for number, line in lines if re.search(rf"# (\w+, )?{word}\b", line)]
        assert len(found) < 2, f"{self.file}: {word}"
        return f"{self.file.name}:{found[0]}" if found else None


@dataclass(frozen=True)
class Answers:
    """``file:line`` as each view has it; ``None`` where it names no line."""

    table: str | None
    terminal: str | None
    page: str | None
    notebook: str | None
    says: str
    """The sentence of the terminal."""


def programs() -> list[Program]:
    """Return all programs in the order of their names."""
    files = [*PROGRAMS.glob("*.py"), PROGRAMS / "tested/test_report.py", PROGRAMS / "command/wordcount.py"]
    named = (Program(file.stem if file.parent == PROGRAMS else file.parent.name, file) for file in files)
    return sorted(named, key=lambda program: program.name)


def words(program: Program, folder: Path) -> list[str | Path]:
    """Return what is typed behind ``rscalene run``, after the program was laid out in ``folder``."""
    if program.name == "command":
        return [installed(program.file, folder), "--times", "25"]
    (folder / program.file.name).write_bytes(program.file.read_bytes())
    if program.name == "tested":
        command = Path(sys.executable).with_name("pytest")
        return [command, "-q", "-p", "no:cacheprovider", program.file.name]
    return [program.file.name]


def installed(module: Path, folder: Path) -> Path:
    """Install a module with a console script in an environment of its own, by pip, and return the script."""
    name = module.stem
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    parts = {
        f"{name}.py": module.read_text(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{part},,\n" for part in [*parts, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for part, text in [*parts.items(), (f"{info}/RECORD", record)]:
            archive.writestr(part, text)
    base = str(Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}")
    run([base, "-m", "venv", "--without-pip", folder / "venv"], folder)
    run([base, "-m", "pip", "--python", folder / "venv/bin/python", "install", "-q", "--no-index", wheel], folder)
    return folder / "venv/bin" / name


def run(command: list[str | Path], folder: Path) -> str:
    """Run a command in ``folder`` and return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def record(program: Program, folder: Path) -> Path:
    """Profile a program and return the profile."""
    run([*RSCALENE, "run", "-q", "-o", "profile.json", *words(program, folder)], folder)
    return folder / "profile.json"


def answers(profile: Path) -> dict[str, Answers]:
    """Return the answers of the three views to ``slowest`` and ``peak``."""
    from rscalene import load

    folder = profile.parent
    table = run([*RSCALENE, "view", "--color", "never", "--width", "200", profile], folder)
    *_, slowest, memory = (line for line in table.strip().splitlines() if re.match(r"slowest:|most memory:", line))
    run([*RSCALENE, "view", profile, "-o", "page.html"], folder)
    page = (folder / "page.html").read_text()
    notebook = load(profile)._repr_mimebundle_()["text/html"]
    found = {}
    for word, said, card, label in (
        ("slowest", slowest, "card hottest", "slowest:"),
        ("peak", memory, "card peak", "most memory:"),
    ):
        (shown,) = re.findall(rf'<li class="{card}.*?</li>', page, re.S)
        (first,) = re.findall(rf"<b[^>]*>{label}</b> (.*?)</p>", notebook)
        sentence = said.removeprefix(label).strip()
        found[word] = Answers(
            table=first_row(table) if word == "slowest" else None,
            terminal=place(sentence),
            page=place(*map(html.unescape, re.findall(r">([^<>]+:\d+)<", shown))),
            notebook=place(html.unescape(first)),
            says=sentence,
        )
    return found


def place(*said: str) -> str | None:
    """Return the ``file:line`` that a sentence begins with, without its folder."""
    found = re.match(r"(?:\S*/)?(\S+:\d+)(?=\s|$)", said[0]) if said else None
    return found[1] if found else None


def first_row(table: str) -> str | None:
    """Return the place of the first row of the hottest lines."""
    rows = iter(table.splitlines())
    for row in rows:
        if re.match(r"\W*Hottest lines", row):
            break
    for row in rows:
        if found := re.search(r"(?:^|[\s/])([\w.-]+\.\w+:\d+|<[^>]+>:\d+)(?=\s|$)", row):
            return found[1]
    return None


def seconds_of(profile: Path, where: str | None) -> float:
    """Return the CPU seconds of a line."""
    return sum_of(profile, where, lambda line: sum(line.get(key) or 0 for key in CPU))


def bytes_of(profile: Path, where: str | None) -> int:
    """Return the bytes that a line held at the peak."""
    return int(sum_of(profile, where, lambda line: line["peak_bytes"] or 0))


CPU = ("python_s", "native_s", "helpers_s", "system_s", "user_s")


def sum_of(profile: Path, where: str | None, figure: Callable[[dict[str, float]], float]) -> float:
    """Add up a figure of the line ``where``, over files of one name."""
    files = json.loads(profile.read_text())["files"]
    return sum(
        figure(line) for file in files for line in file["lines"] if f"{Path(file['path']).name}:{line['line']}" == where
    )
