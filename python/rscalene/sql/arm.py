"""Installs the hooks of database drivers at the first ledger of a process.

Modules loaded by then are hooked at once, others right after their import. Invariant: each module is hooked at most
once in a process. If the hooks of a module fail, for example in an unknown version, a warning says so and the program
goes on.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from rscalene._rscalene import sql_arm

if TYPE_CHECKING:
    import importlib.abc
    import importlib.machinery
    from collections.abc import Callable, Sequence
    from types import ModuleType

__all__ = ["arm"]

#: The module of each library to hook, and the module in this folder that installs the hooks.
_HOOKS = {
    "aiosqlite.core": "aiosqlite",
    "asyncpg.connection": "asyncpg",
    "django.db": "django",
    "django.template.base": "django.install_templates",
    "MySQLdb.cursors": "dbapi",
    "mysql.connector.aio.cursor": "dbapi",
    "mysql.connector.cursor": "dbapi",
    "mysql.connector.cursor_cext": "dbapi",
    "psycopg": "psycopg",
    "pymysql.cursors": "dbapi",
    "redis.asyncio.client": "redis",
    "redis.asyncio.cluster": "redis",
    "redis.client": "redis",
    "redis.cluster": "redis",
    "sqlite3": "sqlite",
    "sqlalchemy.engine": "sqlalchemy",
    "sqlalchemy.orm": "sqlalchemy.install_orm",
}

_lock = threading.RLock()
_hooked: set[str] = set()
_armed = False
#: Whether hooks were installed before the program was known.
_too_early = False


def _forget_the_lock() -> None:
    """Replace the lock in a forked child, because a thread that held the lock does not exist in the child."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_the_lock)


def arm(include: Sequence[str] = (), *, early: bool = False) -> None:
    """Put hooks into every driver, at once if the driver is loaded, otherwise after its import.

    Every new ledger calls this function; calls after the first only add globs.

    :param include: globs of further files in scope.
    :param early: the program has not started yet, so the next call looks up the program's file.
    """
    global _armed, _too_early
    with _lock:
        if _armed and not include and not _too_early:
            return
        _too_early = early
        prepare(include, sqlite="sqlite3" in sys.modules)
        if _armed:
            return
        _armed = True
        for name, hooks in _HOOKS.items():
            if name in sys.modules and not _is_loading(sys.modules[name]):
                _hook(name, hooks)
        sys.meta_path.insert(0, _Finder())


def prepare(include: Sequence[str] = (), *, sqlite: bool) -> bool:
    """Set the scope; with ``sqlite``, hook ``_sqlite3`` from the inside. Return whether that succeeded."""
    program = sys.modules.get("__main__")
    # A module run with `-m` is in scope only if the usual rules say so, like any imported module.
    main = getattr(program, "__file__", None) if getattr(program, "__spec__", None) is None else None
    paths = sysconfig.get_paths()
    libraries = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return sql_arm(
        libraries=[*libraries, ours],
        script=os.path.abspath(main) if main else None,
        cwd=os.getcwd(),
        include=list(include),
        sqlite=sqlite,
    )


def _is_loading(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _hook(name: str, hooks: str) -> None:
    with _lock:
        if name in _hooked:
            return
        _hooked.add(name)
    try:
        module = import_module(name)
        home, _, name_of_it = hooks.partition(".")
        install: Callable[[ModuleType], None] = getattr(import_module(f"rscalene.sql.{home}"), name_of_it or "install")
        install(module)
    except Exception as error:
        warnings.warn(
            f"rscalene cannot see the queries of {name}: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=3
        )


class _Finder:
    """Finds a module with the other finders, and hooks the module once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the other finders' spec of a library in ``_HOOKS``, otherwise None."""
        if fullname not in _HOOKS or fullname in _hooked:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target) if find else None
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    _hook_after(spec.loader, fullname)
                return spec
        return None


def _hook_after(loader: importlib.abc.Loader, name: str) -> None:
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        run(module)
        _hook(name, _HOOKS[name])

    loader.exec_module = exec_module  # type: ignore[method-assign]
