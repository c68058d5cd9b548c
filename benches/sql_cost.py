"""What counting queries costs: CPU of a trivial query, counted and plain in turns, beside other ways to see queries.

Each pair is two blocks of the same queries in one process, one after the other; the answer is the median of the pairs'
differences, in CPU microseconds a query, and of their ratios. `python benches/sql_cost.py --json` after
`pip install -r benches/requirements-sql.txt`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "sql"))

Work = Callable[[int], None]
Counter = Callable[[], contextlib.AbstractContextManager[Any]]
PAIRS, BLOCK = 21, 400


def sqlite() -> tuple[Work, dict[str, Counter]]:
    """Return queries of sqlite3 by itself, ten times as many as a block has."""
    import sqlite3

    import rscalene

    connection = sqlite3.connect(":memory:")

    def work(count: int) -> None:
        for number in range(count * 10):
            connection.execute("select ?", (number,)).fetchone()

    return work, {"rscalene.queries()": rscalene.queries}


def sqlite_rows() -> tuple[Work, dict[str, Counter]]:
    """Return queries of 1,000 rows each."""
    import sqlite3

    import rscalene

    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (x)")
    connection.executemany("insert into t values (?)", [(number,) for number in range(1_000)])

    def work(count: int) -> None:
        for _ in range(count // 10):
            connection.execute("select x from t").fetchall()

    return work, {"rscalene.queries()": rscalene.queries}


def django() -> tuple[Work, dict[str, Counter]]:
    """Return queries of Django's ORM."""
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    import django

    django.setup()
    import rscalene
    from django.contrib.auth.models import Group
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with connection.cursor() as cursor:
        cursor.execute("create table auth_group (id integer primary key, name text)")
    Group.objects.create(name="x")

    def work(count: int) -> None:
        for _ in range(count // 4):
            Group.objects.get(pk=1)

    return work, {
        "rscalene.queries()": rscalene.queries,
        "CaptureQueriesContext": lambda: CaptureQueriesContext(connection),
    }


def sqlalchemy() -> tuple[Work, dict[str, Counter]]:
    """Return queries of SQLAlchemy's core."""
    import rscalene
    from sqlalchemy import create_engine, event, text

    engines = {name: create_engine("sqlite://") for name in ("plain", "events")}
    kept: list[tuple[str, float]] = []

    @event.listens_for(engines["events"], "before_cursor_execute")
    def before(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        context.began = time.perf_counter()

    @event.listens_for(engines["events"], "after_cursor_execute")
    def after(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        kept.append((statement, time.perf_counter() - context.began))

    connections = {name: engine.connect() for name, engine in engines.items()}
    query, using = text("select 1"), ["plain"]

    def work(count: int) -> None:
        connection = connections[using[0]]
        for _ in range(count):
            connection.execute(query).fetchone()

    @contextlib.contextmanager
    def through(name: str) -> Iterator[None]:
        using[0] = name
        yield
        using[0] = "plain"

    return work, {
        "rscalene.queries()": rscalene.queries,
        "two event listeners": lambda: through("events"),
    }


def psycopg() -> tuple[Work, dict[str, Counter]]:
    """Return queries of psycopg on a PostgreSQL of our own."""
    import psycopg
    import rscalene
    import servers
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

    _tracing()
    server = _kept.enter_context(servers.postgresql())
    to = f"host=127.0.0.1 port={server.port} user={server.user} dbname={server.database}"
    plain = _kept.enter_context(psycopg.connect(to, autocommit=True))
    traced = PsycopgInstrumentor().instrument_connection(_kept.enter_context(psycopg.connect(to, autocommit=True)))
    using = [plain]

    def work(count: int) -> None:
        for _ in range(count):
            cursor = using[0].cursor()
            cursor.execute("select 1")
            cursor.fetchone()

    @contextlib.contextmanager
    def tracing() -> Iterator[None]:
        using[0] = traced
        yield
        using[0] = plain

    return work, {"rscalene.queries()": rscalene.queries, "OpenTelemetry": tracing}


def _tracing() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)


_kept = contextlib.ExitStack()
CASES: dict[str, tuple[Callable[[], tuple[Work, dict[str, Counter]]], int, str]] = {
    "sqlite3": (sqlite, 10 * BLOCK, "query"),
    "sqlite3, a row": (sqlite_rows, BLOCK // 10 * 1_000, "row"),
    "Django on sqlite3": (django, BLOCK // 4, "query"),
    "SQLAlchemy on sqlite3": (sqlalchemy, BLOCK, "query"),
    "psycopg 3": (psycopg, BLOCK, "query"),
}


def measure(case: str) -> dict[str, Any]:
    """Return the figures of one case."""
    make, queries, unit = CASES[case]
    work, counters = make()

    def block(counter: Counter | None) -> float:
        with counter() if counter is not None else contextlib.nullcontext():
            began = time.process_time()
            work(BLOCK)
            return (time.process_time() - began) / queries * 1e6

    found: dict[str, Any] = {"case": case, "unit": unit, "counters": {}}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in counters}
    before = [block(None) for _ in range(7)]
    for _ in range(PAIRS):
        for name, counter in counters.items():
            pairs[name].append((block(None), block(counter)))
    idle = [block(None) for _ in range(7)]
    found["plain_us"] = statistics.median(plain for them in pairs.values() for plain, _ in them)
    found["armed_us"] = min(idle) - min(before)
    for name, them in pairs.items():
        found["counters"][name] = {
            "more_us": statistics.median(counted - plain for plain, counted in them),
            "ratio": statistics.median(counted / plain for plain, counted in them),
        }
    return found


def main() -> None:
    """Measure all cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case")
    options = parser.parse_args()
    if options.case:
        with _kept:
            print(json.dumps(measure(options.case)))
        return
    cases = []
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        cases.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    machine = {"python": platform.python_version(), "system": platform.platform()}
    if options.json:
        print(json.dumps({"measured": "sql", "machine": machine, "pairs": PAIRS, "cases": cases}, indent=1))
        return
    for case in cases:
        print(f"{case['case']}: {case['plain_us']:.2f} us a {case['unit']}, armed {case['armed_us']:+.2f}")
        for name, cost in case["counters"].items():
            print(f"    {name}: {cost['more_us']:+.2f} us, x{cost['ratio']:.2f}")


if __name__ == "__main__":
    main()
