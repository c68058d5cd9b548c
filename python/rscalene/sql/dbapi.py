"""Drivers of MySQL and MariaDB: their cursors are Python classes with ``execute`` and ``executemany``."""

from __future__ import annotations

from types import ModuleType

from rscalene.sql.calls import wrap, wrap_fetches

__all__ = ["install"]


def install(module: ModuleType) -> None:
    """Put hooks into all classes of cursors that ``module`` defines."""
    for owner in list(vars(module).values()):
        if isinstance(owner, type) and owner.__module__ == module.__name__:
            for method in ("execute", "executemany"):
                wrap(owner, method, strings=True, keep=True)
            # Unbuffered cursors know the number of rows only after these were fetched.
            wrap_fetches(owner)
