"""When hooks go in: at the first ledger of a process, for modules that are loaded then, and for others as they come.

Invariant: each module is hooked once a process, whoever asks and under whatever name the program runs; a module that
has another shape than expected is left as it is, with one warning.
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

#: The module that says a library is there, and ours that hooks it.
_HOOKS = {
    "aiosqlite.core": "aiosqlite",
    "asyncpg.connection": "asyncpg",
    "django.db": "django",
    "MySQLdb.cursors": "dbapi",
    "mysql.connector.aio.cursor": "dbapi",
    "mysql.connector.cursor": "dbapi",
    "mysql.connector.cursor_cext": "dbapi",
    "psycopg": "psycopg",
    "pymysql.cursors": "dbapi",
    "sqlite3": "sqlite",
    "sqlalchemy.engine": "sqlalchemy",
    "sqlalchemy.orm": "sqlalchemy.install_orm",
}

_lock = threading.RLock()
_hooked: set[str] = set()
_armed = False
#: The program was not there yet when hooks went in.
_too_early = False


def _forget_the_lock() -> None:
    """In a forked child: the thread that held it is gone."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_the_lock)


def arm(include: Sequence[str] = (), *, early: bool = False) -> None:
    """Put hooks into every driver that is or will be loaded; ``include``: globs of files whose lines count too.

    Called by whatever opens a ledger; all calls but the first only look for globs. ``early``: the program does not run
    yet, so the next call looks for its file.
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
    """Say whose lines are the user's; with ``sqlite``, hook it from the inside. Return whether it is so hooked."""
    program = sys.modules.get("__main__")
    # A module that was run with -m is as much a library as it is anywhere else.
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
    """Finds nothing by itself: it has the module that others find hooked once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a library that we hook, as the other finders do."""
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
