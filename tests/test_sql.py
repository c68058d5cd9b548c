"""``rscalene.queries()`` on the standard library's ``sqlite3``: counts, lines, rows, N+1s, and what is never kept."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import rscalene
from rscalene.sql import Queries, Statement

HERE = os.path.abspath(__file__)


def line_of(marker: str) -> int:
    """The line of this file that ends with ``# marker``."""
    for number, line in enumerate(Path(HERE).read_text(encoding="utf-8").splitlines(), 1):
        if line.endswith(f"# {marker}"):
            return number
    raise AssertionError(marker)


def only(queries: Queries, line: int) -> Statement:
    found = [
        statement
        for statement in queries.statements
        if statement.place.line == line and statement.place.file == HERE and not statement.transaction
    ]
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def table() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (x)")
        connection.executemany("insert into t values (?)", [(number,) for number in range(1_009)])
        connection.commit()
        yield connection


def test_executions_and_rows_are_exact(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        for _ in range(701):
            table.execute("select x from t").fetchall()  # all rows
    found = only(q, line_of("all rows"))
    assert (found.count, found.rows, found.errors, found.text) == (701, 701 * 1_009, 0, "select x from t")
    assert q.count == 701
    assert 0 < found.longest_s <= found.time_s == q.time_s


def test_an_execution_that_is_read_midway_is_as_long_as_all_of_it(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        cursor = table.execute("select x from t")  # read midway
        for at, _ in enumerate(cursor):
            if at % 100 == 0:
                only(q, line_of("read midway"))
    found = only(q, line_of("read midway"))
    assert (found.count, found.rows) == (1, 1_009)
    assert found.longest_s == found.time_s == q.executions()[0][1]


def test_a_transaction_is_no_query_and_executemany_is_one(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        table.executemany("insert into t values (?)", [(number,) for number in range(11)])  # many
        for numbers in ([1, 2], [3, 4, 5]):
            table.executemany("insert into t values (?)", [(number,) for number in numbers])  # twice many
        for number in range(3):
            table.execute("insert into t values (?)", (number,))  # one by one
        table.commit()
        table.execute("delete from t where x < 2")  # delete
        table.commit()
    assert (only(q, line_of("many")).count, only(q, line_of("many")).rows) == (1, 11)
    assert (only(q, line_of("twice many")).count, only(q, line_of("twice many")).rows) == (2, 5)
    assert (only(q, line_of("one by one")).count, only(q, line_of("one by one")).rows) == (3, 3)
    assert only(q, line_of("delete")).rows == 7
    words = [statement.text for statement in q.statements if statement.transaction]
    assert [word.strip() for word in words] == ["BEGIN", "COMMIT", "BEGIN", "COMMIT"]
    assert (q.count, q.transactions, q.findings) == (7, 4, [])


def numbers(connection: sqlite3.Connection) -> list[int]:
    found = connection.execute("select x from t where x < 7").fetchall()  # cause
    return [one(connection, number) for (number,) in found]


def one(connection: sqlite3.Connection, number: int) -> int:
    row: tuple[int] = connection.execute("select x + 1 from t where x = ?", (number,)).fetchone()  # each
    return row[0]


def test_an_n_plus_one_names_its_line_and_its_cause(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        assert numbers(table) == [1, 2, 3, 4, 5, 6, 7]
    (finding,) = q.n_plus_one
    assert (finding.count, finding.place.line, finding.place.function) == (7, line_of("each"), "one")
    assert finding.cause is not None
    assert (finding.cause.line, finding.cause_rows) == (line_of("cause"), 7)
    assert q.duplicates == []
    text = q.text()
    assert "N+1: 7 times" in text
    assert f"for each of the 7 rows that tests/test_sql.py:{line_of('cause')}" in text or "test_sql.py" in text


def test_the_same_parameters_again_are_duplicates(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        for _ in range(5):
            table.execute("select x from t where x = ?", (5,)).fetchall()
        for _ in range(4):  # too few to be told
            table.execute("select x from t where x = ?", (6,)).fetchall()
    assert [finding.count for finding in q.duplicates] == [5]
    assert q.n_plus_one == []


def test_literals_that_differ_are_parameters_that_differ(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        for number in range(6):
            table.execute(f"select x from t where x = {number}").fetchall()
    assert [finding.kind for finding in q.findings] == ["N+1"]


def test_failed_queries_are_counted_and_their_errors_are_raised(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        with pytest.raises(sqlite3.OperationalError, match="nope"):
            table.execute("select * from nope")  # unprepared
        table.execute("create table once (x primary key)")
        table.execute("insert into once values (1)")
        with pytest.raises(sqlite3.IntegrityError):
            table.execute("insert into once values (1)")  # refused
    assert only(q, line_of("unprepared")).errors == 1
    assert only(q, line_of("refused")).errors == 1


def test_no_parameter_and_no_literal_is_kept(table: sqlite3.Connection) -> None:
    with rscalene.queries() as q:
        table.execute("select x from t where 's3cret' = ?", ("s3cret",))
        table.execute("select x from t where x = 's3cret' -- s3cret")
        table.execute('select "s3cret"')
    kept = "".join(f"{statement.text}" for statement in q.statements) + q.text(style="log")
    assert "s3cret" not in "".join(line.split(" -> ")[0] for line in kept.splitlines())


def test_blocks_in_blocks_count_for_both(table: sqlite3.Connection) -> None:
    with rscalene.queries() as outer:
        table.execute("select 1")
        with rscalene.queries() as inner:
            table.execute("select 2")
        table.execute("select 3")
    table.execute("select 4")
    assert (outer.count, inner.count) == (3, 1)


def test_a_block_that_raises_is_counted(table: sqlite3.Connection) -> None:
    q = rscalene.queries()

    def fail() -> None:
        with q:
            table.execute("select 1")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert q.count == 1


def test_other_threads_are_others(table: sqlite3.Connection) -> None:
    counts: dict[int, int] = {}

    def work(queries: int) -> None:
        with closing(sqlite3.connect(":memory:")) as connection, rscalene.queries() as q:
            for _ in range(queries):
                connection.execute("select 1").fetchall()
        counts[queries] = q.count

    threads = [threading.Thread(target=work, args=(number,)) for number in (101, 211, 307, 401)]
    with rscalene.queries() as mine:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        table.execute("select 1")
    assert counts == {101: 101, 211: 211, 307: 307, 401: 401}
    assert mine.count == 1


def test_code_at_the_address_of_freed_code_has_lines_of_its_own() -> None:
    """Requests in the same process would keep the code objects, so this process has none."""
    program = """
import sqlite3, rscalene
table = sqlite3.connect(":memory:")
table.execute("create table t (x)")
# Each function is freed after its call, so the next one often gets its address.
addresses = set()
with rscalene.queries() as q:
    for number in range(300):
        space = {"table": table}
        text = "\\n" * (number % 7) + f"def ask{number % 3}():\\n\\n  table.execute('select x as a{number} from t')"
        exec(compile(text, f"<made {number % 11}>", "exec"), space)
        addresses.add(id(space[f"ask{number % 3}"].__code__))
        space[f"ask{number % 3}"]()
        space.clear()
assert len(addresses) < 300, "no address was used twice"
found = {(each.text, each.place.file, each.place.line, each.place.function) for each in q.statements}
assert found == {
    (f"select x as a{number} from t", f"<made {number % 11}>", number % 7 + 3, f"ask{number % 3}")
    for number in range(300)
}, found
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_decorator_prints_after_each_call(table: sqlite3.Connection) -> None:
    stream = io.StringIO()

    @rscalene.queries(stream=stream, style="log")
    def work() -> int:
        return len(table.execute("select x from t where x < 3").fetchall())

    assert [work(), work()] == [3, 3]
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("CALLED QUERY :: [0] select x from t where x < ? ") for line in lines)


def test_a_bare_decorator_runs_the_function(table: sqlite3.Connection, capsys: pytest.CaptureFixture[str]) -> None:
    @rscalene.queries
    def work() -> int:
        table.execute("select 1")
        return 7

    assert work() == 7
    assert capsys.readouterr().err.startswith("1 query, ")


def test_a_forked_child_goes_on_counting() -> None:
    """Sqlite itself does not survive a fork in the midst of another thread's statement, so the child uses none."""
    program = """
import os, sqlite3, threading, rscalene
from rscalene._rscalene import sql_begin
with rscalene.queries():  # no import is under way when it forks
    pass
stop = threading.Event()
def busy():
    own = sqlite3.connect(":memory:")
    with rscalene.queries():
        while not stop.is_set():
            own.execute("select 1").fetchall()
threading.Thread(target=busy, daemon=True).start()
for _ in range(100):
    if os.fork() == 0:
        with rscalene.queries() as q:
            sql_begin("select 1").end()
        os._exit(q.count)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 1
stop.set()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_nothing_is_hooked_before_it_is_asked_for() -> None:
    program = "import sys, rscalene; assert not any(name.startswith('rscalene.sql') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_rscalene_0_turns_it_off(table: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSCALENE", "0")
    with rscalene.queries() as q:
        table.execute("select 1")
    assert (q.count, q.statements, q.rows, q.text()) == (0, [], None, "0 queries, 0.000 ms\n")
