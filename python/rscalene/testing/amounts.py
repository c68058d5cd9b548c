"""Amounts with units, as limits and marks take them: ``"50 ms"``, ``"24 MB"``."""

from __future__ import annotations

import re
from typing import TypeVar

__all__ = ["byte_count", "bytes_text", "seconds", "seconds_text"]

_Number = TypeVar("_Number", int, float)

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)\s*")
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0}


def byte_count(name: str, amount: int | str | None) -> int | None:
    """Return bytes from ``24_000_000``, ``"24 MB"`` or ``"24 MiB"`` (2**20); ValueError with the name of the limit."""
    if amount is None:
        return None
    if isinstance(amount, int) and not isinstance(amount, bool):
        return _positive(name, amount)
    match = _NUMBER.fullmatch(amount) if isinstance(amount, str) else None
    if match is None or match[2].lower() not in _BYTES:
        raise ValueError(f'{name} is a number of bytes or a text such as "8 MB" or "8 MiB", not {amount!r}')
    return round(float(match[1]) * _BYTES[match[2].lower()])


def seconds(name: str, amount: float | str | None) -> float | None:
    """Return seconds from ``0.05`` or ``"50 ms"``; ValueError with the name of the limit."""
    if amount is None:
        return None
    if isinstance(amount, int | float) and not isinstance(amount, bool):
        return _positive(name, amount)
    match = _NUMBER.fullmatch(amount) if isinstance(amount, str) else None
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f'{name} is a number of seconds or a text such as "50 ms", not {amount!r}')
    return float(match[1]) * _SECONDS[match[2]]


def _positive(name: str, amount: _Number) -> _Number:
    if amount < 0:
        raise ValueError(f"{name} cannot be below 0, as {amount} is")
    return amount


def bytes_text(size: float) -> str:
    """Return bytes with a unit."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,.0f} bytes"


def seconds_text(value: float) -> str:
    """Return seconds with a unit, three significant digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"
