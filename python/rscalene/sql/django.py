"""Django: every connection of every alias, with any driver; ``COMMIT`` and ``ROLLBACK`` too."""

from __future__ import annotations

import functools
from importlib import import_module
from types import ModuleType
from typing import Any

from rscalene._rscalene import sql_begin
from rscalene.sql.calls import rows_of
from rscalene.sql.orm import time_calls

__all__ = ["install", "install_templates"]


def install(module: ModuleType) -> None:
    """Put hooks into Django's connections, open and future ones; ``module`` is ``django.db``."""
    created = import_module("django.db.backends.signals").connection_created
    created.connect(_hook, dispatch_uid="rscalene", weak=False)
    base = import_module("django.db.backends.base.base").BaseDatabaseWrapper
    for name, word in (("_commit", "COMMIT"), ("_rollback", "ROLLBACK")):
        setattr(base, name, _transaction(getattr(base, name), word))
    query, compiler = import_module("django.db.models.query"), import_module("django.db.models.sql.compiler")
    for name in ("get", "_fetch_all", "create", "bulk_create", "bulk_update", "get_or_create", "update_or_create"):
        time_calls(query.QuerySet, name)
    for name in ("SQLCompiler", "SQLInsertCompiler", "SQLUpdateCompiler", "SQLDeleteCompiler"):
        owner = getattr(compiler, name)
        if "execute_sql" in vars(owner):
            time_calls(owner, "execute_sql")
    time_calls(import_module("django.db.models.base").Model, "save_base")
    time_calls(import_module("django.db.models.deletion").Collector, "delete")
    for connection in module.connections.all(initialized_only=True):
        _hook(connection=connection)


def _hook(connection: Any = None, **_signal: Any) -> None:
    wrapper = _mysql if connection.vendor == "mysql" else _wrapper
    if wrapper not in connection.execute_wrappers:
        # The last wrapper is the innermost, so the time of other tools' wrappers does not count for the query.
        connection.execute_wrappers.append(wrapper)


def _counted(strings: bool, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    call = sql_begin(sql, params, strings, by="django")
    if call is None:
        return execute(sql, params, many, context)
    try:
        result = execute(sql, params, many, context)
    except BaseException:
        call.fail()
        raise
    call.end(rows_of(context["cursor"]))
    return result


def _wrapper(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    return _counted(False, execute, sql, params, many, context)


def _mysql(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    return _counted(True, execute, sql, params, many, context)


def _transaction(inner: Any, word: str) -> Any:
    @functools.wraps(inner)
    def hooked(self: Any) -> Any:
        call = sql_begin(word) if self.connection is not None else None
        if call is None:
            return inner(self)
        try:
            result = inner(self)
        except BaseException:
            call.fail()
            raise
        call.end()
        return result

    return hooked


def install_templates(module: ModuleType) -> None:
    """Show lines of templates as the lines that run their queries; ``module`` is ``django.template.base``."""
    import_module("rscalene.web.django_templates").install(module)
