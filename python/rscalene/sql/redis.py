"""redis-py, plain and async: calls by line.

A call does not count as a query, neither in ``limits(queries=...)`` nor in the columns of SQL. The text of a call is
the name of the command, such as ``redis: GET``, without keys and values. A pipeline counts as a single call, because
its commands share a round trip.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

from rscalene.sql.calls import wrap

__all__ = ["install"]

#: Matches the first word, the command. Words after a blank may hold keys and values.
_COMMAND = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,31}(?= |$)")


def install(module: ModuleType) -> None:
    """Put hooks into the clients of ``module``, a module of redis-py that defines clients."""
    for name in ("Redis", "RedisCluster"):
        client = vars(module).get(name)
        if client is not None:
            wrap(client, "execute_command", sql=_command, rows=_unknown, by="redis")
    for name in ("Pipeline", "ClusterPipeline"):
        pipeline = vars(module).get(name)
        if pipeline is not None:
            wrap(pipeline, "execute", sql=_pipeline, rows=_unknown, by="redis")
            wrap(pipeline, "immediate_execute_command", sql=_command, rows=_unknown, by="redis")


def _command(_client: Any, *args: Any, **_options: Any) -> str:
    word = args[0] if args else ""
    text = word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)
    found = _COMMAND.match(text)
    return found.group().upper() if found is not None else "(command)"


def _pipeline(_pipeline: Any, *_args: Any, **_kwargs: Any) -> str:
    return "PIPELINE"


def _unknown(_client: Any, _result: Any) -> int:
    return -1
