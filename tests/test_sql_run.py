"""``rscalene run --sql``: queries by line in the profile of a run, in all its processes, however they end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

SECRET = "s3cret-parameter-4711"

PROGRAM = """
import os, sqlite3, sys

connection = sqlite3.connect(":memory:")
connection.execute("create table book (id integer primary key, title text)")
connection.executemany("insert into book (title) values (?)", [(os.environ["SECRET"],)] * 30)  # many
connection.commit()

def authors():
    for (book,) in connection.execute("select id from book").fetchall():  # books
        connection.execute("select title from book where id = ?", (book,)).fetchall()  # author

def again():
    for _ in range(6):
        sql = "select 1 from book where title = ? or title = '%s'" % os.environ["SECRET"]
        connection.execute(sql, (os.environ["SECRET"],)).fetchall()  # again

authors()
again()
try:
    connection.execute("select nothing from nowhere")  # failed
except sqlite3.Error:
    pass
"""

#: Count, rows and mark by line.
TRUTH = {
    "many": (1, 30, None),
    "books": (1, 30, None),
    "author": (30, 30, "N+1"),
    "again": (6, 180, "duplicate"),
    "failed": (1, None, None),
}


def by_marker(profile: dict[str, Any], source: str) -> dict[str, tuple[int, int | None, str | None]]:
    """Count, rows and mark of the statements whose line ends with a marker; words of transactions left out."""
    lines = source.splitlines()
    found: dict[str, tuple[int, int | None, str | None]] = {}
    for row in profile["sql"]["statements"]:
        marker = lines[row["line"] - 1].rpartition("  # ")
        if marker[1] and not row["transaction"]:
            found[marker[2]] = (row["count"], row["rows"], row.get("mark"))
    return found


@pytest.fixture
def asked(rscalene: Run, clean_env: dict[str, str], tmp_path: Path) -> Any:
    clean_env["SECRET"] = SECRET

    def asked(source: str, *options: str | Path) -> dict[str, Any]:
        (tmp_path / "app.py").write_text(source)
        done = rscalene("run", "--sql", "--cpu-only", "-q", "-o", "run.json", *options, "app.py")
        assert done.returncode == 0, done.stderr
        profile: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
        return profile

    return asked


def test_statements_lines_marks_and_advice_are_in_the_profile(asked: Any) -> None:
    profile = asked(PROGRAM)
    assert by_marker(profile, PROGRAM) == TRUTH
    sql = profile["sql"]
    assert (sql["count"], sql["rows"]) == (40, 270)
    marked = {row["mark"]: row for row in sql["statements"] if "mark" in row}
    assert marked["N+1"]["cause"]["rows"] == 30
    assert "JOIN" in marked["N+1"]["advice"]
    assert "keep its result" in marked["duplicate"]["advice"]
    lines = {line["line"]: line for file in profile["files"] for line in file["lines"]}
    line = lines[marked["N+1"]["line"]]
    assert (line["sql_count"], line["sql_rows"], line["sql_mark"]) == (30, 30, "N+1")
    assert line["sql_s"] == marked["N+1"]["time_s"] > 0
    assert {row["statement"] for row in sql["statements"] if row["transaction"]} == {"BEGIN", "COMMIT"}


def test_no_file_has_a_parameter_or_a_literal(rscalene: Run, clean_env: dict[str, str], tmp_path: Path) -> None:
    clean_env["SECRET"] = SECRET
    endings = ("json", "html", "txt", "collapsed", "pstats", "callgrind")
    options = [word for ending in endings for word in ("-o", f"run.{ending}")]
    (tmp_path / "app.py").write_text(PROGRAM)
    done = rscalene("run", "--sql", *options, "app.py")
    assert "select title from book where id = ?" in (tmp_path / "run.json").read_text()
    for file in tmp_path.iterdir():
        assert SECRET.encode() not in file.read_bytes(), file
    assert "N+1: " in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_processes_add_up_and_their_end_loses_no_count(asked: Any) -> None:
    children = """
import os, signal, subprocess
if "child" not in sys.argv:
    if os.fork() == 0:
        authors()
        os._exit(0)
    os.wait()
    subprocess.run([sys.executable, __file__, "child"], check=True)
    if os.fork() == 0:
        authors()
        rows = connection.execute("select a.id from book a, book b, book c")  # unread
        [rows.fetchone() for _ in range(1000)]
        os.kill(os.getpid(), signal.SIGKILL)
    os.wait()
"""
    source = PROGRAM + children
    profile = asked(source)
    found = by_marker(profile, source)
    count, rows, mark = found.pop("unread")
    assert found == TRUTH | {
        "many": (2, 60, None),
        "books": (4, 120, None),
        "author": (120, 120, "N+1"),
        "again": (12, 360, "duplicate"),
        "failed": (2, None, None),
    }
    # The last rows before the signal are not said; what is said is true.
    assert (count, mark) == (1, None)
    assert rows is not None
    assert 1000 - 256 <= rows <= 1001


def test_queries_are_zero_without_a_database_and_unknown_without_hooks(asked: Any) -> None:
    assert asked("pass")["sql"] == {"count": 0, "time_s": 0.0, "rows": None, "statements": []}
    profile = asked(PROGRAM, "--", sys.executable, "-I")
    assert "sql" not in profile
    assert [notice["code"] for notice in profile["notices"] if notice["code"].startswith("sql")] == ["sql_uncounted"]


def test_the_program_keeps_its_own_sitecustomize_and_its_path(
    rscalene: Run, python: Run, clean_env: dict[str, str], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys; sys.from_own = __file__\n")
    (tmp_path / "app.py").write_text(
        "import json, sitecustomize, sys\nprint(json.dumps([sys.from_own, sitecustomize.__file__, sys.path]))\n"
    )
    clean_env["PYTHONPATH"] = str(own)
    plain, profiled = python("app.py"), rscalene("run", "--sql", "-q", "app.py")
    assert (profiled.returncode, profiled.stdout) == (0, plain.stdout), profiled.stderr
    assert json.loads(plain.stdout)[0] == str(own / "sitecustomize.py")


def test_a_block_counts_beside_the_run(asked: Any) -> None:
    source = (
        PROGRAM + "\nimport rscalene\nwith rscalene.queries() as q:\n    authors()\nassert q.count == 31, q.count\n"
    )
    profile = asked(source)
    assert by_marker(profile, source) == TRUTH | {"books": (2, 60, None), "author": (60, 60, "N+1")}
