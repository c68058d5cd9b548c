"""Write docs/ordinary-programs.md: what each program's first answers are, beside the truth.

make ordinary
"""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

from .answers import PROGRAMS, Answers, Program, answers, bytes_of, programs, record, seconds_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ordinary-programs.md"

HEAD = """# Ordinary programs, and their first answers

Programs as people write them. *truth* is the line that a person who knows the program would name: the one that takes
the most CPU time, and the one that holds the most memory when the processes are largest together. *answer* is what the
last two lines in the terminal, the cards of the page and the first two lines of the notebook say; a test holds that
all three, and the first row of the table, name the same line. `-`: no single line would be named, or none can be: what
polars and duckdb allocate in threads of their own belongs to no line.

`make ordinary` runs the programs of `tests/ordinary/programs` and writes this page; `make test-ordinary` holds the
answers to the truth.
"""


def main() -> None:
    """Run all programs and write the page."""
    slow, memory = [], []
    right = {"slowest": 0, "peak": 0}
    known = dict(right)
    for program in programs():
        with tempfile.TemporaryDirectory() as folder:
            profile = record(program, Path(folder))
            found = answers(profile)
            for word in right:
                truth = program.truth(word)
                known[word] += truth is not None
                right[word] += truth is not None and agrees(found[word], truth)
            where, owner = found["slowest"].terminal, found["peak"].terminal
            slow.append(row(program, "slowest", found["slowest"], f"{seconds_of(profile, where):.2f} s"))
            memory.append(row(program, "peak", found["peak"], f"{bytes_of(profile, owner) / 2**20:.1f} MiB"))
    facts = f"CPython {platform.python_version()}, {platform.machine()}."
    head = "| program | truth | answer | figure |\n|---|---|---|--:|\n"
    PAGE.write_text(
        f"{HEAD}\n{facts} The slowest line is right in {right['slowest']} of {known['slowest']} programs, the owner of "
        f"the\npeak in {right['peak']} of {known['peak']}.\n\n## The slowest line\n\n{head}{''.join(slow)}\n"
        f"## The owner of the memory peak\n\n{head}{''.join(memory)}"
    )
    print(f"wrote {PAGE.relative_to(ROOT)}: {right} of {known}")


def agrees(found: Answers, truth: str) -> bool:
    """Tell whether all views name the line."""
    return found.terminal == found.page == found.notebook == truth


def row(program: Program, word: str, found: Answers, figure: str) -> str:
    """Return a row of a table."""
    truth = program.truth(word)
    said = found.terminal or "none"
    source = f"`{text(program, said)}`" if text(program, said) else ""
    what = program.what.rstrip(".")
    return f"| {what} | {truth or '-'} | {said} {source} | {figure} |\n"


def text(program: Program, where: str) -> str:
    """Return the source of a line without its mark, so short that a row stays readable."""
    name, _, number = where.rpartition(":")
    file = program.file.parent / name
    if not file.is_file():
        return ""
    line = file.read_text().splitlines()[int(number) - 1].split("  #")[0].strip().replace("|", "\\|")
    return line if len(line) <= 60 else f"{line[:59]}…"


if __name__ == "__main__":
    assert PROGRAMS.is_dir()
    main()
