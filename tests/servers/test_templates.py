"""Lines of Jinja2, Django and Mako templates, in profiles of runs, of ``Profiler`` and of requests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAD = "<html>\n<body>\n"
#: For each engine: the template, with its slow loop on lines 5 to 7, and the code that makes ``render``.
ENGINES = {
    "jinja": (
        HEAD + "{% set x = 1 %}\n<p>{{ x }}</p>\n{% for i in range(N) %}\n{{ i * i }}\n{% endfor %}\n</body>\n",
        """
from jinja2 import Environment, FileSystemLoader
page = Environment(loader=FileSystemLoader("templates")).get_template("page.html")
def render(n): return page.render(N=n)
""",
    ),
    "django": (
        HEAD + "<p>\n</p>\n{% for i in rows %}\n{{ i|add:2 }}\n{% endfor %}\n</body>\n",
        """
import django
from django.conf import settings
settings.configure(TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["templates"]}])
django.setup()
from django.template.loader import get_template
page = get_template("page.html")
def render(n): return page.render({"rows": range(n // 10)})
""",
    ),
    "mako": (
        HEAD + "<% x = 1 %>\n<p>${x}</p>\n% for i in range(N):\n${i * i}\n% endfor\n</body>\n",
        """
from mako.lookup import TemplateLookup
page = TemplateLookup(["templates"], **({"module_directory": "modules"} if MODULES else {})).get_template("page.html")
def render(n): return page.render(N=n)
""",
    ),
}
END = {
    "run": "\nfor _ in range(4): render(200_000)\n",
    "profiler": """
import rscalene
with rscalene.Profiler(memory=True) as profiler:
    for _ in range(4): render(200_000)
profiler.result().save("out.json")
""",
    "request": """
import rscalene
with rscalene.request("page") as request:
    render(20_000)
print(request.result().json())
""",
}


def program(engine: str, end: str, folder: Path, *, modules: bool = False) -> None:
    template, code = ENGINES[engine]
    (folder / "templates").mkdir()
    (folder / "templates/page.html").write_text(template)
    (folder / "app.py").write_text(f"import json\nMODULES = {modules}\n{code}{END[end]}")


def lines_of(files: list[dict[str, Any]], key: str) -> dict[int, tuple[float, str]]:
    """Cost and text of each line of the template."""
    rows = [row for file in files if file["path"].endswith("templates/page.html") for row in file["lines"]]
    return {row["line"]: (row.get(key) or 0, row["source"]) for row in rows}


def the_slow_lines_are_the_templates(lines: dict[int, tuple[float, str]], folder: Path) -> None:
    texts = (folder / "templates/page.html").read_text().splitlines()
    assert all(text == texts[line - 1] for line, (_, text) in lines.items()), lines
    whole = sum(cost for cost, _ in lines.values())
    assert sum(lines[line][0] for line in (5, 6) if line in lines) >= 0.9 * whole > 0, lines


@pytest.mark.parametrize("memory", ["sampled", "exact"])
def test_a_run_shows_lines_of_jinja_templates(tmp_path: Path, clean_env: dict[str, str], memory: str) -> None:
    program("jinja", "run", tmp_path)
    command = [sys.executable, "-m", "rscalene", "run", "-q", "--memory", memory, "-o", "out.json", "app.py"]
    subprocess.run(command, cwd=tmp_path, env=clean_env, check=True, timeout=120)
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    for key in ("python_s", "alloc_bytes"):
        the_slow_lines_are_the_templates(lines_of(files, key), tmp_path)


def test_a_run_with_sql_shows_lines_of_django_templates(tmp_path: Path, clean_env: dict[str, str]) -> None:
    program("django", "run", tmp_path)
    command = [sys.executable, "-m", "rscalene", "run", "-q", "--sql", "-o", "out.json", "app.py"]
    subprocess.run(command, cwd=tmp_path, env=clean_env, check=True, timeout=120)
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    the_slow_lines_are_the_templates(lines_of(files, "python_s"), tmp_path)


@pytest.mark.parametrize("engine", ["jinja", "django"])
def test_a_profiler_shows_lines_of_templates(tmp_path: Path, clean_env: dict[str, str], engine: str) -> None:
    program(engine, "profiler", tmp_path)
    subprocess.run([sys.executable, "app.py"], cwd=tmp_path, env=clean_env, check=True, timeout=120)
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    for key in ("python_s", "alloc_bytes"):
        the_slow_lines_are_the_templates(lines_of(files, key), tmp_path)


@pytest.mark.parametrize(
    ("engine", "modules"), [("jinja", False), ("django", False), ("mako", False), ("mako", True)],
    ids=["jinja", "django", "mako", "mako-modules"],
)  # fmt: skip
def test_a_request_shows_exact_lines_of_templates(
    tmp_path: Path, clean_env: dict[str, str], engine: str, modules: bool
) -> None:
    program(engine, "request", tmp_path, modules=modules)
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=clean_env, check=True, timeout=120, stdout=subprocess.PIPE
    )
    rows = [row for row in json.loads(done.stdout)["lines"] if row["file"].endswith("templates/page.html")]
    lines = {row["line"]: (row["own_s"], row["source"]) for row in rows}
    the_slow_lines_are_the_templates(lines, tmp_path)
    assert next(row["hits"] for row in rows if row["line"] == 6) >= 2_000


def test_a_query_that_a_template_asks_is_on_the_template_s_line(tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/page.html").write_text("<ul>\n\n{% for row in ask(sql) %}\n<li>{{ row[0] }}\n{% endfor %}\n")
    (tmp_path / "app.py").write_text(
        ENGINES["jinja"][1]
        + """
import sqlite3, rscalene
connection = sqlite3.connect(":memory:")
with rscalene.queries() as queries:
    for _ in range(7): page.render(ask=connection.execute, sql="select 1 union select 2")
for found in queries.statements: print(found.count, found.rows, found.place.file, found.place.line)
"""
    )
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=clean_env, check=True, timeout=60, stdout=subprocess.PIPE
    )
    assert done.stdout.decode().split() == ["7", "14", str(tmp_path / "templates/page.html"), "3"]
