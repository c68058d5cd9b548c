"""Adds up the profiles of pytest-xdist's workers, which ran parts of the same session.

Figures of lines, functions and totals are sums. Peaks and footprints are the largest of all workers. Parts that
describe a single process (stacks, threads, the timeline) are left out if there are several workers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["combined"]

#: For these figures the largest is taken, not the sum.
_LARGEST = {"peak_rss_bytes", "mem_usage_bytes", "tracked_peak_bytes", "line", "first_line", "last_line"}


def combined(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a single profile for all parts; ``None`` without parts, and a single part unchanged."""
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    whole = dict(parts[0])
    whole["totals"] = _sum([part["totals"] for part in parts])
    whole["clock"] = {**whole["clock"], "elapsed_s": max(part["clock"]["elapsed_s"] for part in parts)}
    whole["files"] = _files(parts)
    whole["stacks"] = {"frames": [], "nodes": [], "other_files": []}
    whole["timeline"] = {"rss": [], "live": []}
    whole["threads"] = []
    whole["processes"] = [process for part in parts for process in part["processes"]]
    whole["notices"] = _distinct([notice for part in parts for notice in part["notices"]])
    whole["leaks"] = []
    whole["tests"] = {name: figures for part in parts for name, figures in part["tests"].items()}
    return {key: value for key, value in whole.items() if key not in ("sections", "labels")}


def _distinct(notices: list[Any]) -> list[Any]:
    """Return the notices in the order of their processes and texts, each once."""
    known = [notice for notice in notices if isinstance(notice, dict) and isinstance(notice.get("text"), str)]
    keyed = {(notice.get("process") or 0, notice["text"]): notice for notice in known}
    return [notice for _, notice in sorted(keyed.items(), key=lambda item: item[0])]


def _files(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_path: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for file in part["files"]:
            by_path.setdefault(file["path"], []).append(file)
    return [
        {
            **files[0],
            "lines": _rows([line for file in files for line in file["lines"]], ("line", "function")),
            "functions": _rows([one for file in files for one in file["functions"]], ("first_line", "qualname")),
        }
        for _, files in sorted(by_path.items())
    ]


def _rows(rows: list[dict[str, Any]], keys: tuple[str, str]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        bare = {key: value for key, value in row.items() if key not in ("by_process", "by_thread", "native")}
        groups.setdefault(tuple(row[key] for key in keys), []).append(bare)
    summed = [_sum(group) for _, group in sorted(groups.items())]
    return [{**row, "native": []} if "line" in row else row for row in summed]


def _sum(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Combine rows: numbers by their kind, standard errors as errors of sums, inner tables likewise.

    Of a text or a flag, take the first row's value.
    """
    whole: dict[str, Any] = {}
    for key in {key: None for row in figures for key in row}:
        values = [row[key] for row in figures if row.get(key) is not None]
        if not values:
            whole[key] = None
        elif isinstance(values[0], dict):
            whole[key] = _sum(values)
        elif isinstance(values[0], bool) or not isinstance(values[0], int | float):
            whole[key] = values[0]
        elif key in _LARGEST:
            whole[key] = max(values)
        elif key.endswith("_se"):
            whole[key] = sum(value * value for value in values) ** 0.5
        else:
            whole[key] = sum(values)
    return whole
