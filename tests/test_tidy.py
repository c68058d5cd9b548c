"""The language of the source, and the order of its files: the rules of docs/style.md and docs/glossary.md.

Words are counted by file: doc comments of Rust, docstrings of Python, the text of pages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

RULED = (
    "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "RELEASE-CHECKLIST.md", "docs", "python/rscalene", "shim", "src",
)  # fmt: skip
"""Files and folders under the rules."""

OTHER_LANGUAGES = {"docs/quickstart.ja.md", "docs/quickstart.ko.md", "docs/quickstart.ru.md"}

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


def files(*names: str) -> list[Path]:
    """The text files of some files and folders."""
    found: set[Path] = set()
    for name in names:
        path = ROOT / name
        found.update([path] if path.is_file() else [p for p in path.rglob("*") if p.suffix in (".rs", ".py", ".md")])
    return sorted(found)


def ruled() -> list[Path]:
    """The files under the rules."""
    return [path for path in files(*RULED) if str(path.relative_to(ROOT)) not in OTHER_LANGUAGES]


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


@pytest.mark.parametrize("path", ruled(), ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_name_the_actor_and_the_object(path: Path) -> None:
    found, words = vague(path)
    assert found <= max(MOST_VAGUE * words, ALWAYS_ALLOWED), f"{found} vague words of {words}: see docs/style.md"


@pytest.mark.parametrize("path", ruled(), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_name_the_kind_of_thing(path: Path) -> None:
    found = {name for name in identifiers(path) if name.strip("_").lower() in METAPHORS}
    assert found == set()


def test_every_file_under_the_rules_is_there() -> None:
    assert [name for name in (*RULED, *OTHER_LANGUAGES) if not (ROOT / name).exists()] == []


def test_a_text_full_of_vague_words_is_refused(tmp_path: Path) -> None:
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
    # The functions of the package itself import modules when they are called.
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
