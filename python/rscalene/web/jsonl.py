"""Requests as JSON lines for log shippers: flat keys, numbers as numbers, key names of ECS, else of OpenTelemetry."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rscalene.web.options import Options
    from rscalene.web.result import RequestResult


def lines(result: RequestResult, options: Options) -> Iterator[dict[str, Any]]:
    """Yield the objects of one request: itself, its lines, its SQL, and its functions if the options ask for them."""
    common = common_keys(result, options)
    if "request" in options.jsonl_rows:
        yield common | request_keys(result) | {"event.dataset": "rscalene.request"}
    if "line" in options.jsonl_rows:
        for row in result.lines:
            yield common | {
                "event.dataset": "rscalene.line",
                "code.file.path": row.file,
                "code.line.number": row.line,
                "code.function.name": row.function,
                "rscalene.hits": row.hits,
                "rscalene.time_ns": round(row.time_s * 1e9),
                "rscalene.own_ns": round(row.own_s * 1e9),
                "rscalene.await_ns": round(row.await_s * 1e9),
            }
    if "sql" in options.jsonl_rows:
        for statement in result.sql:
            yield common | {
                "event.dataset": "rscalene.sql",
                "code.file.path": statement.get("file"),
                "code.line.number": statement.get("line"),
                "code.function.name": statement.get("function"),
                "db.system.name": statement.get("system"),
                "db.query.text": statement.get("statement"),
                "rscalene.sql.count": int(statement.get("count") or 0),
                "rscalene.sql.time_ns": round(float(statement.get("time_s") or 0) * 1e9),
                "rscalene.sql.rows": statement.get("rows"),
                "rscalene.mark": statement.get("mark"),
            }
    if "function" in options.jsonl_rows:
        for file, line, name, calls, primitive, own_s, total_s in result.functions():
            yield common | {
                "event.dataset": "rscalene.function",
                "code.file.path": file,
                "code.line.number": line,
                "code.function.name": name,
                "rscalene.calls": calls,
                "rscalene.primitive_calls": primitive,
                "rscalene.own_ns": round(own_s * 1e9),
                "rscalene.cumulative_ns": round(total_s * 1e9),
            }


def common_keys(result: RequestResult, options: Options) -> dict[str, Any]:
    """Return the keys that all JSON lines of a request share."""
    about = result.about
    moment = datetime.fromtimestamp(about.started_at, UTC)
    keys = {
        "@timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event.module": "rscalene",
        "event.id": about.id,
        "service.name": options.service,
        "host.name": socket.gethostname(),
        "process.pid": about.pid,
        "process.thread.id": about.thread,
        "trace.id": about.trace_id,
        "span.id": about.span_id,
        "http.request.method": about.method or None,
        "http.route": about.route,
        "url.path": about.path or None,
        "http.response.status_code": about.status,
        "error.type": about.error,
    }
    return {key: value for key, value in keys.items() if value is not None}


def request_keys(result: RequestResult) -> dict[str, Any]:
    """Return the keys of the request itself."""
    keys: dict[str, Any] = {
        "event.duration": round(result.elapsed_s * 1e9),
        "rscalene.cpu_ns": round(result.cpu_s * 1e9),
        "rscalene.cold": result.about.cold,
    }
    if result.about.name:
        keys["rscalene.name"] = result.about.name
    if result.memory is not None:
        names = ("rscalene.alloc_bytes", "rscalene.net_bytes", "rscalene.peak_bytes")
        keys |= zip(names, result.memory, strict=True)
    sql = result.sql
    if sql:
        keys["rscalene.sql.count"] = sum(int(one.get("count") or 0) for one in sql)
        keys["rscalene.sql.time_ns"] = round(sum(float(one.get("time_s") or 0) for one in sql) * 1e9)
        keys["rscalene.sql.rows"] = sum(int(one.get("rows") or 0) for one in sql)
    return keys
