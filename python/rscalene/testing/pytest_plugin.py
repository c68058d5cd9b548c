"""The pytest plugin: marks in every session, and profiles with ``--rscalene``.

``@pytest.mark.limits(peak="24 MB", queries=12, n_plus_one=False)`` fails a test that exceeds a limit. If pytest-memray
is absent, this plugin also handles ``limit_memory`` and ``limit_leaks``, with the same meaning. With ``--rscalene``,
the plugin profiles the session, prints the hottest lines and the most expensive tests at the end, and writes files on
request. A session without marks and options imports no other module of rscalene.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rscalene.testing.limits import limits

__all__ = ["pytest_addoption", "pytest_configure", "pytest_runtest_call", "rscalene_limits"]

_MARKS = {
    "limits": "limits(queries, n_plus_one, wall, cpu, peak, allocated, kept): fail what takes more (rscalene)",
    "limit_memory": "limit_memory(limit): fail where the test's memory rises by more, e.g. '24 MB' (rscalene)",
    "limit_leaks": "limit_leaks(limit): fail where the test keeps more memory at its end (rscalene)",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("rscalene", "profiling by line (rscalene)")
    group.addoption("--rscalene", action="store_true", help="profile the tests: hottest lines and tests at the end")
    group.addoption("--rscalene-top", type=int, default=10, metavar="N", help="length of these lists (10)")
    group.addoption("--rscalene-json", metavar="FILE", help="save the profile and the tests' figures")
    group.addoption("--rscalene-html", metavar="FILE", help="save the profile as a page")
    group.addoption("--rscalene-diff", metavar="BASE", help="compare with a file of --rscalene-json")
    group.addoption(
        "--rscalene-fail",
        metavar="RULES",
        help="fail the session where a figure grew since BASE: 'alloc>+5%%,peak>+1MiB,cpu>+50%%,queries>0'",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks, and start measuring if an option asks for a profile."""
    theirs = config.pluginmanager.hasplugin("memray")
    for name, text in _MARKS.items():
        if name == "limits" or not theirs:
            config.addinivalue_line("markers", text)
    names = ("rscalene", "rscalene_json", "rscalene_html", "rscalene_diff", "rscalene_fail")
    if not any(config.getoption(name) for name in names):
        return
    from rscalene.testing.session import Session

    config.pluginmanager.register(Session(config), "rscalene-session")


def _limits_of(item: pytest.Item) -> limits | None:
    kept: dict[str, Any] = {}
    theirs = item.config.pluginmanager.hasplugin("memray")
    for mark in reversed(list(item.iter_markers("limits"))):  # the closest has the last word
        if mark.args:
            raise pytest.UsageError(f"{item.nodeid}: limits takes keywords alone, as in limits(queries=12)")
        kept.update(mark.kwargs)
    for name, key in (("limit_memory", "peak"), ("limit_leaks", "kept")):
        closest = None if theirs else item.get_closest_marker(name)
        if closest is not None:
            named = closest.kwargs.get("limit", closest.kwargs.get("location_limit"))
            kept.setdefault(key, closest.args[0] if closest.args else named)
    if not kept:
        return None
    from rscalene.testing.limits import limits

    try:
        return limits(**kept)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Put the limits around the test function itself: neither fixtures nor ``setUp`` count."""
    __tracebackhide__ = True
    limit = _limits_of(item)
    session = item.config.pluginmanager.get_plugin("rscalene-session")
    function = getattr(item, "obj", None)
    if function is None or (limit is None and session is None):
        return (yield)
    wrapped = function if limit is None else limit(function)
    if session is not None:
        wrapped = session.measured(item, wrapped)
    # Works for coroutines too: the plugin that runs coroutines calls `item.obj`.
    item.obj = wrapped  # type: ignore[attr-defined]
    try:
        return (yield)
    finally:
        item.obj = function  # type: ignore[attr-defined]


@pytest.fixture
def rscalene_limits() -> Any:
    """Give tests :class:`rscalene.limits` by name: ``with limits(queries=3): ...``."""
    from rscalene.testing.limits import limits

    return limits
