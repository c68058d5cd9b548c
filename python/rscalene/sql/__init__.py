"""SQL by Python line: the queries of each line, with their number, time and rows.

Drivers are hooked when the first ledger of a process is opened, never at import: ``sqlite3``, psycopg 3, asyncpg,
aiosqlite, mysql-connector-python, PyMySQL and mysqlclient, and Django and SQLAlchemy on top of any driver. A query
counts once, at the outermost of these layers. Neither parameters nor literals are kept. Calls of redis-py are listed by
line too, and are no queries.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rscalene.sql.counted import Build, Finding, Queries, Statement, queries
    from rscalene.sql.request import RequestLedger, ledger

__all__ = ["Build", "Finding", "Queries", "RequestLedger", "Statement", "ledger", "queries"]

_HOMES = {"RequestLedger": "request", "ledger": "request"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because a process with hooks alone needs none of the public names."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'rscalene.sql' has no attribute {name!r}")
    value = getattr(import_module(f"rscalene.sql.{_HOMES.get(name, 'counted')}"), name)
    globals()[name] = value
    return value
