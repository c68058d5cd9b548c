"""redis-py against a server of the test's own: calls by line, apart from queries, without keys and values."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socketserver
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import rscalene

HERE = os.path.abspath(__file__)


class _Session(socketserver.StreamRequestHandler):
    """Answers commands of RESP2: ``+OK`` to all but transactions and ``GET``."""

    def handle(self) -> None:
        queued = -1
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            command = words[0].upper()
            if command == b"MULTI":
                queued = 0
                answer = b"+OK"
            elif command == b"EXEC":
                answer = b"*%d" % queued + b"\r\n+OK" * queued
                queued = -1
            elif queued >= 0:
                queued += 1
                answer = b"+QUEUED"
            elif command in (b"HELLO", b"FAIL"):
                answer = b"-ERR unknown command"
            else:
                answer = b"$-1" if command == b"GET" else b"+OK"
            self.wfile.write(answer + b"\r\n")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def port() -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Session) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def by_marker(queries: rscalene.sql.Queries) -> dict[str, list[tuple[str, int, int]]]:
    lines = Path(HERE).read_text(encoding="utf-8").splitlines()
    found: dict[str, list[tuple[str, int, int]]] = {}
    for statement in queries.statements:
        assert statement.place.file == HERE
        marker = lines[statement.place.line - 1].rpartition("  # ")[2]
        found.setdefault(marker, []).append((statement.text, statement.count, statement.errors))
    return found


def test_calls_are_by_line_and_are_no_queries(port: int) -> None:
    import redis

    client = redis.Redis(port=port, protocol=2)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection, client:
        with rscalene.limits(queries=1, n_plus_one=False), rscalene.queries() as q:
            connection.execute("select 1").fetchall()  # sql
            for number in range(9):
                client.get(f"s3cret{number}")  # get
            client.set("s3cret", "s3cret")  # set
            client.execute_command("SET s3cret s3cret")  # text
            with pytest.raises(redis.ResponseError):
                client.execute_command("FAIL")  # failed
            pipeline = client.pipeline()
            pipeline.set("s3cret", 1).set("s3cret", 2)
            assert pipeline.execute() == [True, True]  # pipeline
        assert (q.count, q.calls, q.transactions, q.findings) == (1, 13, 0, [])
    assert by_marker(q) == {
        "sql": [("select ?", 1, 0)],
        "get": [("redis: GET", 9, 0)],
        "set": [("redis: SET", 1, 0)],
        "text": [("redis: SET", 1, 0)],
        "failed": [("redis: FAIL", 1, 1)],
        "pipeline": [("redis: PIPELINE", 1, 0)],
    }
    assert "s3cret" not in q.text("log")
    assert "1 query, " in q.text()
    assert "13 of redis apart" in q.text()


def test_calls_of_the_async_client_are_at_the_await(port: int) -> None:
    import redis.asyncio

    async def work() -> None:
        async with redis.asyncio.Redis(port=port, protocol=2) as client:
            await client.get("x")  # await
            pipeline = client.pipeline()
            pipeline.set("x", 1)
            await pipeline.execute()  # await pipeline

    with rscalene.queries() as q:
        asyncio.run(work())
    assert by_marker(q) == {"await": [("redis: GET", 1, 0)], "await pipeline": [("redis: PIPELINE", 1, 0)]}
    assert q.count == 0


def test_a_run_lists_calls_apart_from_queries(port: int, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        f"import redis\nclient = redis.Redis(port={port}, protocol=2)\nfor _ in range(9):\n    client.get('s3cret')\n"
    )
    command = [sys.executable, "-m", "rscalene", "run", "--sql", "--cpu-only", "-q", "-o", "run.json", "app.py"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    text = (tmp_path / "run.json").read_text()
    profile = json.loads(text)
    (row,) = profile["sql"]["statements"]
    assert (row["statement"], row["line"], row["count"], row["transaction"]) == ("redis: GET", 4, 9, True)
    assert profile["sql"]["count"] == 0
    assert "s3cret" not in json.dumps(profile["sql"])
