"""``rscalene run --sql`` on ORMs: lines, marks with the ORM's own advice, and the ORM's own time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SHOP = Path(__file__).with_name("shop.py")

LIBRARY = """
import asyncio, time
import rscalene
from sqlalchemy import ForeignKey, create_engine, event, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, reconstructor

class Base(DeclarativeBase): pass

class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)

class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship()
    @reconstructor
    def loaded(self):
        time.sleep(0.02)

engine = create_engine("sqlite://")
event.listen(engine, "connect", lambda dbapi, _: dbapi.create_function("nap", 0, lambda: time.sleep(0.2)))
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all([Book(author=Author()) for _ in range(20)])
    session.commit()  # flush
with Session(engine) as session:
    with rscalene.queries() as q:
        books = session.scalars(select(Book)).all()  # books
        session.execute(text("select nap()")).all()  # nap
    built = {build.place.line: build.time_s for build in q.builds}
    with rscalene.request("page") as page:
        session.scalars(select(Book).where(Book.id < 9).execution_options(populate_existing=True)).all()  # page
    print(round(page.result().to_dict()["sql"]["build_s"], 3))
    print(sorted((statement.place.line, round(built[statement.place.line], 1)) for statement in q.statements))
    for book in books:
        book.author.id  # lazy

async def main():
    other = create_async_engine("sqlite+aiosqlite://")
    async with other.connect() as connection:
        for number in range(6):
            await connection.execute(text("select :x"), {"x": number})  # awaited
    await other.dispose()

asyncio.run(main())
"""


def profile_of(folder: Path, script: str, *words: str, **environment: str) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "rscalene", "run", "--sql", "--cpu-only", "-q", "-o", "run.json", script, *words]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot see" not in done.stderr
    return json.loads((folder / "run.json").read_text()), done.stdout


def by_marker(profile: dict[str, Any], path: Path) -> dict[str, list[dict[str, Any]]]:
    """The statements whose line ends with a marker, but for words of transactions."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found: dict[str, list[dict[str, Any]]] = {}
    for row in profile["sql"]["statements"]:
        if row["file"] is not None and profile["files"][row["file"]]["path"] == str(path) and not row["transaction"]:
            marker = lines[row["line"] - 1].rpartition("  # ")
            if marker[1]:
                found.setdefault(marker[2], []).append(row)
    return found


def test_sqlalchemy_by_line_and_what_it_takes_itself(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(LIBRARY)
    profile, printed = profile_of(tmp_path, "library.py")
    found = by_marker(profile, tmp_path / "library.py")
    (books,), (nap,), (lazy,), (awaited,) = (found[name] for name in ("books", "nap", "lazy", "awaited"))
    assert (books["count"], books["rows"], books.get("mark")) == (1, 20, None)
    assert (lazy["count"], lazy["mark"], lazy["advice"]) == (
        20,
        "N+1",
        "load with the first query: joinedload() or selectinload()",
    )
    assert lazy["cause"]["line"] == books["line"]
    assert (awaited["count"], awaited["mark"]) == (6, "N+1")
    assert {row["count"] for row in found["flush"]} == {20}
    assert all("write many at once" in row["advice"] for row in found["flush"])
    paths = {file["path"] for file in profile["files"]}
    assert paths == {str(tmp_path / "library.py")}
    built = {line["line"]: line.get("sql_build_s") for file in profile["files"] for line in file["lines"]}
    # 20 objects that take 20 ms each to make, and a query that takes 200 ms in the driver.
    assert 0.4 < built[books["line"]] < 0.9 > books["time_s"] * 4
    assert nap["time_s"] > 0.2 > built[nap["line"]] * 2
    of_request, of_lines = printed.splitlines()
    assert 0 < float(of_request) < 0.9
    assert json.loads(of_lines.replace("(", "[").replace(")", "]"))[0][1] in (0.4, 0.5, 0.6)


def test_django_counts_are_the_same_everywhere(database: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(SHOP, tmp_path / "shop.py")
    mysql = "1" if "mysql" in database["ENGINE"] else ""
    report = str(tmp_path / "report.json")
    profile, _ = profile_of(
        tmp_path, "shop.py", "script", SHOP_DATABASE=json.dumps(database), SHOP_REPORT=report, SHOP_MYSQL=mysql
    )
    found = by_marker(profile, tmp_path / "shop.py")
    figures = {name: [(row["count"], row["rows"], row.get("mark")) for row in rows] for name, rows in found.items()}
    assert figures["n+1"] == [(30, 30, "N+1")]
    assert figures["duplicate"] == [(6, 6, "duplicate")]
    assert figures["raw"] == [(1, 1, None)]
    assert found["failed"][0]["errors"] == 1
    assert "select_related()" in found["n+1"][0]["advice"]
    assert b"s3cret" not in json.dumps(profile["sql"]).encode()
    lines = {line["line"]: line for file in profile["files"] for line in file["lines"]}
    assert lines[found["n+1"][0]["line"]]["sql_build_s"] > 0
