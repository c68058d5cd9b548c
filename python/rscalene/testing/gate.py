"""Compares a session with an earlier session: ``--rscalene-diff base.json --rscalene-fail "alloc>+5%,queries>0"``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rscalene.testing.amounts import byte_count, bytes_text, seconds, seconds_text

__all__ = ["comparison", "passed", "read", "relative", "rules"]

_RULE = re.compile(r"\s*(alloc|peak|cpu|wall|queries|n_plus_one)\s*>\s*\+?\s*([0-9.]+)\s*([A-Za-z%]*)\s*")
_BYTES, _SECONDS = ("alloc", "peak"), ("cpu", "wall")
#: Times of tests vary by this share from run to run, so a rule allows at least this growth.
_NOISE = 0.1


@dataclass(frozen=True)
class _Rule:
    text: str
    figure: str
    share: float | None
    amount: float


def rules(text: str) -> list[_Rule]:
    """Return the rules in ``text``; UsageError with an explanation if a rule cannot be parsed."""
    return [_rule(part) for part in text.split(",") if part.strip()]


def _rule(text: str) -> _Rule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise pytest.UsageError(
            f"cannot understand the rule {text.strip()!r}: a figure (alloc, peak, cpu, wall, queries, n_plus_one) and "
            "by how much it may grow, as in alloc>+5%, peak>+1MiB, cpu>+100ms or queries>0"
        )
    figure, number, unit = match.groups()
    try:
        if unit == "%":
            return _Rule(text.strip(), figure, float(number) / 100, 0.0)
        if figure in _BYTES:
            return _Rule(text.strip(), figure, None, float(byte_count(figure, number + unit) or 0))
        if figure in _SECONDS:
            return _Rule(text.strip(), figure, None, float(seconds(figure, number + unit) or 0.0))
        return _Rule(text.strip(), figure, None, float(number))
    except ValueError as error:
        raise pytest.UsageError(f"cannot understand the rule {text.strip()!r}: {error}") from None


def read(path: str) -> dict[str, Any]:
    """Read a file that ``--rscalene-json`` wrote; UsageError for any other file."""
    try:
        base: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        base["totals"], base["tests"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise pytest.UsageError(f"cannot compare with {path!r}: {error}; --rscalene-json writes such a file") from None
    return base


def _figures(profile: dict[str, Any]) -> dict[str, float]:
    totals, tests = profile["totals"], profile["tests"].values()
    return {
        "alloc": float(totals.get("alloc_bytes") or 0),
        "peak": float(totals.get("tracked_peak_bytes") or 0),
        "cpu": sum(test["cpu_s"] for test in tests),
        "wall": sum(test["wall_s"] for test in tests),
        "queries": float(sum(test["queries"] for test in tests)),
        "n_plus_one": float(sum(test["n_plus_one"] for test in tests)),
    }


def _text(figure: str, value: float) -> str:
    if figure in _BYTES:
        return bytes_text(value)
    return seconds_text(value) if figure in _SECONDS else f"{value:.0f}"


def comparison(base: dict[str, Any], profile: dict[str, Any]) -> list[str]:
    """Return a line for each figure: before, after, and the change."""
    before, after = _figures(base), _figures(profile)
    return [
        f"{figure:>10}: {_text(figure, before[figure])} -> {_text(figure, after[figure])}"
        + (f" ({(after[figure] / before[figure] - 1) * 100:+.1f} %)" if before[figure] else "")
        for figure in before
    ]


def passed(limits: list[_Rule], base: dict[str, Any], profile: dict[str, Any]) -> list[str]:
    """Return a line for each rule whose limit was exceeded, followed by the tests that grew most."""
    before, after = _figures(base), _figures(profile)
    lines = []
    for rule in limits:
        old, new = before[rule.figure], after[rule.figure]
        allowed = old * rule.share if rule.share is not None else rule.amount
        if rule.figure in _SECONDS:
            allowed = max(allowed, old * _NOISE)
        if new - old > allowed:
            grown = f"{_text(rule.figure, old)} -> {_text(rule.figure, new)}"
            lines.append(f"failed: {rule.text}: {grown}")
            lines += _tests(rule.figure, base["tests"], profile["tests"])
    return lines


def _tests(figure: str, base: dict[str, Any], tests: dict[str, Any]) -> list[str]:
    key = {"cpu": "cpu_s", "wall": "wall_s"}.get(figure, figure)
    if figure in _BYTES:
        return []
    grown = {name: one[key] - base.get(name, {}).get(key, 0) for name, one in tests.items()}
    most = sorted(grown.items(), key=lambda test: -test[1])[:5]
    return [f"    {name}: +{_text(figure, value)}" for name, value in most if value > 0]


def relative(path: str, root: Path) -> str:
    """Return ``path`` relative to ``root``, if ``path`` lies below ``root``."""
    return path.removeprefix(f"{root}/")
