"""The language of the source, and the order of its files: the rules of docs/style.md and docs/glossary.md.

Words are counted by file: doc comments of Rust, docstrings of Python, the text of pages. `REWRITTEN` lists the rooms
(folders, or files) under these rules. A room joins the list when its texts have been rewritten, and stays there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

REWRITTEN = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "RELEASE-CHECKLIST.md",
    "docs/accuracy.md",
    "docs/api.md",
    "docs/architecture.md",
    "docs/coming-from.md",
    "docs/compare.md",
    "docs/design",
    "docs/glossary.md",
    "docs/index.md",
    "docs/performance.md",
    "docs/profile-format.md",
    "docs/quickstart.md",
    "docs/reading.md",
    "docs/recipes.md",
    "docs/reliability.md",
    "docs/style.md",
    "docs/troubleshooting.md",
    "python/rscalene/__init__.py",
    "python/rscalene/__main__.py",
    "python/rscalene/compat",
    "python/rscalene/footprint.py",
    "python/rscalene/lines",
    "python/rscalene/notebook",
    "python/rscalene/profiler.py",
    "python/rscalene/result.py",
    "shim/src/life/exec.rs",
    "shim/src/memory/interval.rs",
    "shim/wire/src/records.rs",
    "shim/wire/src/values.rs",
    "src/bindings",
    "src/cli/config.rs",
    "src/cli/error.rs",
    "src/cli/flags.rs",
    "src/cli/gate.rs",
    "src/cli/messages.rs",
    "src/cli/mod.rs",
    "src/cli/push.rs",
    "src/cli/running.rs",
    "src/cli/shared.rs",
    "src/cli/values.rs",
    "src/commands/attach.rs",
    "src/commands/diff.rs",
    "src/commands/doctor",
    "src/commands/dump.rs",
    "src/commands/merge.rs",
    "src/commands/output.rs",
    "src/commands/recover.rs",
    "src/commands/report.rs",
    "src/commands/run",
    "src/commands/top",
    "src/commands/view.rs",
    "src/inprocess",
    "src/launch/disk.rs",
    "src/launch/file_sources.rs",
    "src/launch/folders.rs",
    "src/launch/inline_source.rs",
    "src/launch/keep.rs",
    "src/launch/mod.rs",
    "src/launch/not_preloaded.rs",
    "src/launch/notebooks.rs",
    "src/launch/preload.rs",
    "src/launch/spawn.rs",
    "src/lib.rs",
    "src/lines",
    "src/observe/remote/process.rs",
    "src/profile/book/shares.rs",
    "src/profile/model/figures.rs",
    "src/profile/model/notice.rs",
    "src/push",
    "src/report/answer.rs",
    "src/report/bars.rs",
    "src/report/diff",
    "src/report/export",
    "src/report/format.rs",
    "src/report/hidden.rs",
    "src/report/html/columns.rs",
    "src/report/html/courses.rs",
    "src/report/html/cumulative.rs",
    "src/report/html/digits.rs",
    "src/report/html/escape.rs",
    "src/report/html/findings.rs",
    "src/report/html/highlight.rs",
    "src/report/html/inline.rs",
    "src/report/html/mod.rs",
    "src/report/html/names.rs",
    "src/report/html/overview.rs",
    "src/report/html/page.rs",
    "src/report/html/parts.rs",
    "src/report/html/payload.rs",
    "src/report/html/source.rs",
    "src/report/html/spread.rs",
    "src/report/html/sql.rs",
    "src/report/html/stacks.rs",
    "src/report/html/tables.rs",
    "src/report/html/text_of_files.rs",
    "src/report/html/timeline.rs",
    "src/report/json.rs",
    "src/report/markdown.rs",
    "src/report/mod.rs",
    "src/report/modules.rs",
    "src/report/spread.rs",
    "src/report/style.rs",
    "src/report/table/closing.rs",
    "src/report/table/facts.rs",
    "src/report/table/labels.rs",
    "src/report/table/list.rs",
    "src/report/table/mod.rs",
    "src/report/table/modules.rs",
    "src/report/table/per_process.rs",
    "src/report/table/spread.rs",
    "src/report/table/tasks.rs",
    "src/report/table/tree.rs",
    "src/report/tree.rs",
    "src/report/view.rs",
    "src/requests/api.rs",
    "src/requests/book.rs",
    "src/requests/context.rs",
    "src/requests/counts.rs",
    "src/requests/engines.rs",
    "src/requests/events.rs",
    "src/requests/functions.rs",
    "src/requests/ledger.rs",
    "src/requests/legacy.rs",
    "src/requests/mod.rs",
    "src/requests/object.rs",
    "src/requests/request.rs",
    "src/requests/scope.rs",
    "src/requests/table.rs",
    "src/requests/text.rs",
    "src/requests/tree.rs",
    "src/save.rs",
    "src/source.rs",
    "src/sql/arm.rs",
    "src/sql/build.rs",
    "src/sql/context.rs",
    "src/sql/frames.rs",
    "src/sql/ledger.rs",
    "src/sql/mod.rs",
    "src/sql/nodes.rs",
    "src/sql/sites.rs",
    "src/sql/slots.rs",
    "src/sql/sqlite.rs",
    "src/sql/to_launcher.rs",
    "src/sql/tokens.rs",
    "src/sql/variables.rs",
    "src/units.rs",
)

VAGUE = {"it", "that", "what", "those", "one", "who", "whose", "whom", "nobody", "somebody", "everybody"}
"""Words that leave the reader to find the actor or the object."""
MOST_VAGUE = 0.04
"""Their largest share of the words of a file."""
ALWAYS_ALLOWED = 3
"""So many may stand in a file however short it is."""

METAPHORS = {
    "room", "house", "hand", "ear", "company", "crowd", "paper", "near", "told", "untold", "given", "words",
    "texts", "surely",
}  # fmt: skip
"""Identifiers that name no kind of thing."""


def code_of(text: str) -> str:
    """Leave out code: fenced blocks, spans, tables' rules, addresses."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"``[^`]*``|`[^`]*`|\]\([^)]*\)|https?://\S+", " ", text)


def prose(path: Path) -> str:
    """The text of a file that is written for people."""
    text = path.read_text()
    if path.suffix == ".rs":
        return code_of("\n".join(re.findall(r"^\s*//[/!] ?(.*)$", text, re.MULTILINE)))
    if path.suffix == ".py":
        nodes = ast.walk(ast.parse(text))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docs = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]
        return code_of("\n".join(docs + re.findall(r"#: (.*)$", text, re.MULTILINE)))
    return code_of(text)


def vague(path: Path) -> tuple[int, int]:
    """How many words of a file are vague, of how many."""
    words = re.findall(r"[a-z]+(?:'[a-z]+)?", prose(path).lower())
    return sum(word in VAGUE for word in words), len(words)


def files(*rooms: str) -> list[Path]:
    """The files of some rooms that people read."""
    found: set[Path] = set()
    for room in rooms:
        path = ROOT / room
        found.update([path] if path.is_file() else [p for p in path.rglob("*") if p.suffix in (".rs", ".py", ".md")])
    return sorted(found)


def identifiers(path: Path) -> set[str]:
    """The names that a file defines."""
    text = path.read_text()
    if path.suffix == ".rs":
        code = re.sub(r"//.*", "", text)
        return set(re.findall(r"\b(?:fn|struct|enum|trait|type|const|static|mod|let|let mut)\s+(\w+)", code))
    if path.suffix == ".py":
        names: set[str] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
        return names
    return set()


@pytest.mark.parametrize("path", files(*REWRITTEN), ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_name_the_actor_and_the_object(path: Path) -> None:
    found, words = vague(path)
    assert found <= max(MOST_VAGUE * words, ALWAYS_ALLOWED), f"{found} vague words of {words}: see docs/style.md"


@pytest.mark.parametrize("path", files(*REWRITTEN), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_kind_of_thing_they_are_of(path: Path) -> None:
    assert not {name for name in identifiers(path) if name.strip("_").lower() in METAPHORS}


def test_every_room_under_the_rules_is_there() -> None:
    assert [room for room in REWRITTEN if not (ROOT / room).exists()] == []


def test_a_text_full_of_riddles_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Nobody says what it is that those who ask for one have of it. " * 9 + "`it` and [that](who)")
    found, words = vague(page)
    assert found > MOST_VAGUE * words
    assert (found, words) == (9 * 8 + 1, 9 * 14 + 2)


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of the package that a file imports when it runs: not those of ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.startswith("rscalene."))
        yield from imports(node)


def test_no_python_file_imports_itself_round_a_circle() -> None:
    folder = ROOT / "python"
    modules = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in folder.rglob("*.py")}
    # The package itself is a door: its functions import what they are asked for.
    below = {
        name: set(imports(ast.parse(path.read_text()))) & modules.keys()
        for name, path in modules.items()
        if name != "rscalene.__init__"
    }
    while free := {name for name, needs in below.items() if not needs & below.keys()}:
        below = {name: needs for name, needs in below.items() if name not in free}
    assert below == {}


@pytest.mark.parametrize("page", files("docs", "README.md", "CONTRIBUTING.md"), ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
