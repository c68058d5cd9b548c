"""Columns, keys and magics that the documentation names are those of the program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rscalene.notebook import magics

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

#: Works in Python, in C and in the kernel, waits, holds memory, copies, collects garbage, and asks a database.
PROGRAM = """\
import gc, hashlib, sqlite3, threading, time
rows = sqlite3.connect(":memory:").execute("select 1 union select 2").fetchall()
total = 0
for number in range(2_000_000):
    total += number * number
kept = [bytes([1]) * (1 << 20) for _ in range(64)]
for _ in range(20):
    copied = bytearray(kept[0])
threading.Thread(target=time.sleep, args=(0.1,)).start()
for _ in range(60):
    found = [{} for _ in range(20_000)]
    gc.collect()
digest = hashlib.sha256(bytes(60_000_000)).hexdigest()
with open("/dev/zero", "rb", buffering=0) as zeros:
    for _ in range(300):
        zeros.read(1 << 20)
time.sleep(0.1)
"""

#: IPython's own magics, and those of the profilers that a reader comes from.
OTHERS = {"load_ext", "unload_ext", "scalene", "run"}


def tables(text: str, first: str) -> list[list[str]]:
    """First cells of each table whose first heading is ``first``."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells[:1] == [first]:
            inside = True
            found.append([])
        elif not cells:
            inside = False
        elif inside and not set(cells[0]) <= set("-: "):
            found[-1].append(cells[0])
    return found


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The wide table, the page and the JSON of one run that has every kind of figure."""
    folder = tmp_path_factory.mktemp("columns")
    (folder / "app.py").write_text(PROGRAM)
    rscalene = [sys.executable, "-m", "rscalene"]
    run = [*rscalene, "run", "-q", "--sql", "--interval", "500us", "-o", "run.json", "app.py"]
    subprocess.run(run, cwd=folder, check=True, timeout=100)
    view = [*rscalene, "view", "run.json", "--full", "--width", "300", "--color", "never"]
    text = subprocess.run(view, cwd=folder, check=True, timeout=60, capture_output=True, text=True).stdout
    subprocess.run([*rscalene, "view", "-o", "run.html", "run.json"], cwd=folder, check=True, timeout=60)
    diff = [*rscalene, "diff", "--json", "run.json", "run.json"]
    compared = subprocess.run(diff, cwd=folder, check=True, timeout=60, capture_output=True, text=True).stdout
    return {
        "diff": compared,
        "text": text,
        "html": (folder / "run.html").read_text(),
        "json": (folder / "run.json").read_text(),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_column_of_the_docs_is_a_heading_of_the_table(name: str, reports: dict[str, str]) -> None:
    documented = [column for table in tables((ROOT / name).read_text(), "column") for column in table]
    headings = "\n".join(line for line in reports["text"].splitlines() if re.match(r"Line (#|.* CPU %)", line))
    for column in documented:
        for one in column.replace("`", "").split(", "):
            assert re.search(rf"(^|  ?){re.escape(one)}( |$)", headings, re.M) or one == "±", (one, headings)


def test_every_heading_of_the_table_and_of_the_page_is_in_the_docs(reports: dict[str, str]) -> None:
    text = (ROOT / "docs" / "reading.md").read_text() + (ROOT / "docs" / "sql.md").read_text()
    shown = set(re.findall(r'<th[^>]*scope="col"[^>]*>(?:<[^>]*>)*([^<]+)<', reports["html"]))
    lines = reports["text"].splitlines()
    for heading in (line for line in lines if re.match(r"(Line|Function|Module|Thread) .*(CPU|Own)", line)):
        words = re.sub(r"(Line #|Mem usage|At peak|SQL ms|Line Contents|No core|Defined at|\w+ %)", r"<\1>", heading)
        shown |= {one or other for one, other in re.findall(r"<([^>]+)>|(\w+)", words)}
    assert len(shown) > 10, shown
    missing = {name for name in shown if name and name.strip() and name not in text}
    assert not missing, sorted(missing)


def keys(schema: Any) -> set[str]:
    """Names of all properties of a schema."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        for part in schema.values():
            found |= keys(part)
    elif isinstance(schema, list):
        for part in schema:
            found |= keys(part)
    return found


def test_every_key_of_the_format_s_page_is_in_the_schema_or_in_a_comparison(reports: dict[str, str]) -> None:
    known = keys(json.loads((ROOT / "docs" / "profile-v1.schema.json").read_text()))
    named = {
        part
        for table in tables((ROOT / "docs" / "profile-format.md").read_text(), "key")
        for cell in table
        for path in re.findall(r"`([^`]+)`", cell)
        for part in re.split(r"[.\[\]]+", path)
        if re.fullmatch(r"[a-z_]+", part) and f'"{part}":' not in reports["diff"]
    }
    assert len(named) > 40
    assert named - known == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_line_that_the_docs_read_is_in_the_json(name: str, reports: dict[str, str]) -> None:
    known = keys(json.loads((ROOT / "docs" / "profile-v1.schema.json").read_text()))
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", (ROOT / name).read_text(), re.M | re.S)
    for key in re.findall(r'\b(?:line|f|profile|run|row)\["([a-z_]+)"\]', "".join(blocks)):
        assert key in known, key
        assert f'"{key}"' in reports["json"] or key.endswith("_s"), key


@pytest.mark.parametrize("name", NAMES)
def test_every_magic_of_the_docs_is_registered_with_its_options(name: str) -> None:
    registered: dict[str, Any] = {}

    class Shell:
        def __init__(self) -> None:
            self.input_transformers_cleanup: list[Any] = []
            self.ast_transformers: list[Any] = []

        def register_magic_function(self, function: Any, magic_kind: str, magic_name: str) -> None:
            registered[magic_name] = function

    ours = magics.Magics()
    ours.load(Shell())
    parsers = {**magics._PARSERS, "memit": magics._memit_parser}
    assert set(registered) == set(parsers)
    for row in (ROOT / name).read_text().splitlines():
        found = re.findall(r"(?:^|`|, )%%?([a-z_]+)\b", row)
        for magic in found:
            assert magic in {*registered, *OTHERS}, f"%{magic}"
        known = [magic for magic in found if magic in parsers]
        if not known:
            continue
        options = {option for magic in known for option in re.findall(r"(?<![\w-])(--?[a-z]+)\b", row)}
        accepted = {spelt for magic in known for action in parsers[magic]()._actions for spelt in action.option_strings}
        assert options <= accepted, (row, options - accepted)
