"""Each driver by itself, and layers on top of each other: a query counts once, on the line that asked."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import rscalene
from rscalene.sql import Queries

from .servers import Server

HERE = os.path.abspath(__file__)


def by_marker(queries: Queries) -> dict[str, tuple[int, int | None]]:
    """Count and rows of the statements whose line ends with a marker; words of transactions left out."""
    lines = Path(HERE).read_text(encoding="utf-8").splitlines()
    found: dict[str, tuple[int, int | None]] = {}
    for statement in queries.statements:
        line = lines[statement.place.line - 1] if statement.place.file == HERE else ""
        if "  # " in line and not statement.transaction:
            found[line.rpartition("  # ")[2]] = (statement.count, statement.rows)
    return found


def test_psycopg(postgresql: Server) -> None:
    import psycopg

    to = f"host=127.0.0.1 port={postgresql.port} user={postgresql.user} dbname={postgresql.database}"
    with psycopg.connect(to) as connection:
        connection.execute("create temporary table t (x int)")
        with rscalene.queries() as q:
            cursor = connection.cursor()
            cursor.executemany("insert into t values (%s)", [(1,), (2,), (3,)])  # many
            connection.execute("select x from t where x > %s", (1,)).fetchall()  # execute
            assert len(list(cursor.stream("select x from t"))) == 3  # stream
            with cursor.copy("copy t to stdout") as copy:  # copy
                assert len(list(copy.rows())) == 3
            with connection.cursor("named") as named:
                named.execute("select x from t")  # server
                assert len(named.fetchall()) == 3
            with pytest.raises(psycopg.Error), connection.transaction():
                connection.execute("select nope")  # failed
    assert by_marker(q) == {
        "many": (1, 3),
        "execute": (1, 2),
        "stream": (1, 3),
        "copy": (1, 3),
        "server": (1, None),
        "failed": (1, None),
    }

    async def asynchronous() -> None:
        async with await psycopg.AsyncConnection.connect(to) as connection:
            await connection.execute("select generate_series(1, 5)")  # async

    with rscalene.queries() as q:
        asyncio.run(asynchronous())
    assert by_marker(q) == {"async": (1, 5)}


def test_asyncpg(postgresql: Server) -> None:
    import asyncpg

    async def work() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=postgresql.port, user=postgresql.user, database=postgresql.database
        )
        with rscalene.queries() as q:
            await connection.fetch("select generate_series(1, 7)")  # fetch
            await connection.fetchval("select $1::int", 3)  # value
            prepared = await connection.prepare("select generate_series(1, $1::int)")
            await prepared.fetch(4)  # prepared
            async with connection.transaction():
                async for _ in connection.cursor("select generate_series(1, 3)"):  # cursor
                    pass
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute("select nope")  # failed
        await connection.close()
        found = by_marker(q)
        assert found == {"fetch": (1, 7), "value": (1, 1), "prepared": (1, 4), "cursor": (1, 3), "failed": (1, None)}

    asyncio.run(work())


def test_aiosqlite_counts_at_the_await() -> None:
    import aiosqlite

    async def work() -> None:
        async with aiosqlite.connect(":memory:") as connection:
            await connection.create_function("floor", 1, int)
            with rscalene.queries() as q:
                await connection.execute("create table t (x)")  # create
                await connection.executemany("insert into t values (?)", [(1,), (2,)])  # many
                await connection.commit()
                async with connection.execute("select floor(x) from t") as cursor:  # select
                    assert len(list(await cursor.fetchall())) == 2
        assert by_marker(q) == {"create": (1, 0), "many": (1, 2), "select": (1, 2)}
        assert "floor" not in [statement.text for statement in q.statements]

    asyncio.run(work())


def test_layers_count_once(postgresql: Server) -> None:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine

    where = f"{postgresql.user}@127.0.0.1:{postgresql.port}/{postgresql.database}"

    async def asynchronous(url: str, statement: str) -> None:
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            result = await connection.execute(text(statement))  # async
            assert len(result.fetchall()) == 2
        await engine.dispose()

    two = "select 1 union select 2"
    for url in ("sqlite://", f"postgresql+psycopg://{where}"):
        engine = create_engine(url)
        with engine.connect() as connection, rscalene.queries() as q:
            connection.execute(text(two)).fetchall()  # sync
            with pytest.raises(DBAPIError):
                connection.execute(text("select nope"))  # failed
            connection.rollback()
            connection.execute(text(two)).fetchall()  # after
        engine.dispose()
        found = by_marker(q)
        assert (found["sync"], found["after"], found["failed"][0]) == ((1, 2), (1, 2), 1), url
        assert q.count == 3, q.text()
    for url in ("sqlite+aiosqlite://", f"postgresql+asyncpg://{where}", f"postgresql+psycopg://{where}"):
        with rscalene.queries() as q:
            asyncio.run(asynchronous(url, two))
        assert by_marker(q)["async"][0] == 1, url


@pytest.mark.parametrize("driver", ["pymysql", "mysql.connector"])
def test_drivers_of_mariadb(mariadb: Server, driver: str) -> None:
    options: dict[str, Any] = {"host": "127.0.0.1", "port": mariadb.port, "user": mariadb.user}
    if driver == "pymysql":
        import pymysql

        connection: Any = pymysql.connect(**options, database=mariadb.database)
    else:
        import mysql.connector

        connection = mysql.connector.connect(
            **options, database=mariadb.database, use_pure=True, collation="utf8mb4_general_ci"
        )
    with rscalene.queries() as q:
        cursor = connection.cursor()
        cursor.execute("create temporary table t (x int, y text)")  # create
        cursor.executemany("insert into t values (%s, %s)", [(1, "s3cret"), (2, "b"), (3, "c")])  # many
        cursor.execute('select x from t where y <> "s3cret"')  # select
        assert len(cursor.fetchall()) == 2
        with pytest.raises(Exception, match="nope"):
            cursor.execute("select nope")  # failed
    connection.close()
    found = by_marker(q)
    assert (found["many"], found["select"], found["failed"][0]) == ((1, 3), (1, 2), 1)
    assert not [statement.text for statement in q.statements if "s3cret" in statement.text]


def test_the_table_of_a_profiled_function_has_the_time_of_the_orm() -> None:
    import io

    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import Session

    out = io.StringIO()

    @rscalene.profile(sql=True, stream=out)
    def page(session: Session) -> list[int]:
        rows = session.execute(text("select 1 union select 2")).all()
        return [row[0] for row in rows]

    with Session(create_engine("sqlite://")) as session:
        assert page(session) == [1, 2]
    table = out.getvalue().splitlines()
    heading = next(line for line in table if "Line Contents" in line)
    (row,) = [line for line in table if "session.execute(" in line and "CALLED" not in line]
    at = heading.index("Line Contents")
    end = heading.index("Build ms") + len("Build ms")
    assert heading.index("SQL ms") < end < heading.index("Rows") < at
    assert float(row[end - 9 : end]) > 0
    assert len({line.index("return") for line in table if "return [" in line}) == 1
    (other,) = [line for line in table if "return [row" in line]
    assert not other[heading.index("SQL ms") - 3 : at].strip()
