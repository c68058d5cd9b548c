"""The browser, and the pages that it opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .driver import Open, Pages, chromium, media


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """The pages, by the name of their sample."""
    return Pages(tmp_path_factory)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all tests of the module."""
    driver = chromium(tmp_path_factory.mktemp("user"))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Open]:
    """Open a page at a fragment; at the end the console must be empty (policy violations are logged there)."""

    def go(name: str, fragment: str = "") -> Any:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        media(browser, color_scheme="light")
        browser.get("about:blank")
        browser.get(pages[name].as_uri() + fragment)
        return browser

    yield go
    browser.execute_script("localStorage.clear()")
    assert browser.get_log("browser") == []
