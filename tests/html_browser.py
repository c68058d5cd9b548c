"""The HTML report driven in headless Chromium; `make test-browser` runs it, plain `pytest` does not collect it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import html_samples
import pytest

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample profiles, rendered by the command."""
    made = {}
    for name in ("program", "hostile", "large"):
        folder = tmp_path_factory.mktemp(name)
        profile = html_samples.write(getattr(html_samples, name)(folder), folder / "profile.json")
        made[name] = folder / "report.html"
        subprocess.run(
            [sys.executable, "-m", "rscalene", "view", str(profile), "-o", str(made[name])], check=True, timeout=110
        )
    return made


def chromium(folder: Path, *, javascript: bool = True) -> Any:
    """A new headless browser with a profile of its own."""
    webdriver = importlib.import_module("selenium.webdriver")
    service = importlib.import_module("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "window-size=1440,900", f"user-data-dir={folder}",
    ):  # fmt: skip
        options.add_argument("--" + flag)
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=service.Service("/usr/bin/chromedriver"))


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
        browser.get("about:blank")
        browser.get(pages[name].as_uri() + fragment)
        return browser

    yield go
    assert browser.get_log("browser") == []


def wait(browser: Any, script: str) -> Any:
    """The first true value of a script, within 10 seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        value = browser.execute_script("return " + script)
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"never true: {script}")


def press(browser: Any, key: str) -> None:
    """One key, wherever the focus is."""
    browser.switch_to.active_element.send_keys(key)


def test_a_click_on_a_header_sorts_and_says_so(visit: Open) -> None:
    page = visit("program")
    places = "[...document.querySelectorAll('#hot tbody th')].map(e => e.textContent)"
    assert page.execute_script("return " + places)[0] == "app.py:25"
    page.execute_script("document.querySelector('#hot button[data-key=al]').click()")
    assert page.execute_script("return " + places)[0] == "app.py:13"
    assert wait(page, "document.querySelector('#hot th[aria-sort]').textContent") == "Allocated"
    page.execute_script("document.querySelector('#hot button[data-key=al]').click()")
    assert (
        page.execute_script("return document.querySelector('#hot th[aria-sort]').getAttribute('aria-sort')")
        == "ascending"
    )


def test_a_permanent_link_opens_its_line_and_keys_move_on(visit: Open) -> None:
    page = visit("program", "#app.py:25")
    assert wait(page, "document.querySelector('tr.sel')?.dataset.n") == "25"
    press(page, "j")
    assert wait(page, "document.querySelector('tr.sel')?.dataset.n === '26'")
    assert page.execute_script("return location.hash") == "#app.py:26"
    press(page, "n")
    assert wait(page, "document.querySelector('tr.sel')?.dataset.n === '25'")
    press(page, "1")
    assert wait(page, "document.getElementById('overview').classList.contains('on')")


def test_cold_code_is_folded_and_unfolds(visit: Open) -> None:
    page = visit("program", "#app.py:25")
    assert wait(page, "document.querySelectorAll('tr.fold').length") >= 1
    assert not page.execute_script("return document.querySelector('tr[data-n=\"3\"]')")
    page.execute_script("document.getElementById('viewer').querySelector('.codebox').scrollTop = 0")
    wait(page, "document.querySelector('tr.fold button')")
    page.execute_script("document.querySelector('tr.fold button').click()")
    assert wait(page, "document.querySelector('tr[data-n=\"3\"]').textContent.includes('import json')")


def test_search_finds_source_and_leads_to_it(visit: Open) -> None:
    page = visit("program")
    press(page, "/")
    press(page, "上流が遅い")
    assert wait(page, "document.querySelector('#results a')?.textContent").startswith("app.py:38")
    page.execute_script("document.querySelector('#results a').click()")
    assert wait(page, "document.querySelector('tr.sel mark')?.textContent") == "上流が遅い"


def test_dark_and_light_change_the_page(visit: Open) -> None:
    page = visit("program")
    color = "return getComputedStyle(document.body).backgroundColor"
    before = page.execute_script(color)
    press(page, "t")
    assert page.execute_script(color) != before
    press(page, "t")
    assert page.execute_script(color) == before


def test_cumulative_figures_hold_what_a_line_calls(visit: Open) -> None:
    page = visit("program")
    page.execute_script("document.getElementById('cumulative').click()")
    first = "return document.querySelector('#hot tbody tr').textContent"
    assert page.execute_script(first).startswith("app.py:62")


def test_native_code_behind_a_line_is_a_click_away(visit: Open) -> None:
    page = visit("program", "#app.py:33")
    wait(page, "document.querySelector('tr.sel .nat')")
    page.execute_script("document.querySelector('tr.sel .nat').click()")
    assert "dgemm_kernel_HASWELL" in wait(page, "document.querySelector('.pop')?.textContent")
    press(page, "\ue00c")
    assert page.execute_script("return document.querySelector('.pop') === null")


def test_the_flame_graph_zooms_searches_and_links(visit: Open) -> None:
    page = visit("program", "#flame")
    names = "[...document.querySelectorAll('.flame button')].map(b => b.textContent)"
    assert {"main", "join", "matrix", "remember"} <= set(wait(page, names))
    page.execute_script("[...document.querySelectorAll('.flame button')].find(b => b.textContent === 'join').click()")
    wait(page, f"!{names}.includes('matrix')")
    assert "app.py" in wait(page, "document.querySelector('#flame .none .loc')?.textContent")
    page.execute_script("document.querySelector('[data-metric=mem]').click()")
    assert "iB" in page.execute_script("return document.querySelector('.flame button').title")


def test_hostile_names_and_source_stay_text(visit: Open) -> None:
    page = visit("hostile")
    for view in ("#source", "#flame", "#functions", "#files", "#run", "#overview"):
        page.execute_script(f"location.hash = '{view}'")
        wait(page, f"document.querySelector('{view}').classList.contains('on')")
        time.sleep(0.3)
    assert page.execute_script("return document.querySelectorAll('script').length") == 2
    assert page.execute_script("return document.querySelectorAll('img, iframe, [onerror], [onload]').length") == 0
    assert page.execute_script("return window.pwned === undefined")
    href = page.execute_script("return document.querySelector('#hot a').getAttribute('href')")
    page.execute_script("document.querySelector('#hot a').click()")
    assert wait(page, "document.querySelector('tr.sel')?.dataset.n") == href.rsplit(":", 1)[1]


def test_every_line_of_a_very_large_profile_is_reached_at_once(visit: Open, pages: dict[str, Path]) -> None:
    assert pages["large"].stat().st_size <= 5_000_000
    page = visit("large")
    loaded = page.execute_script(
        "const t = performance.getEntriesByType('navigation')[0]; return t.domContentLoadedEventEnd"
    )
    assert loaded < 3000, f"{loaded} ms"
    page.execute_script("location.hash = document.querySelector('#files tbody a').getAttribute('href')")
    wait(page, "document.querySelector('tr.sel')")
    assert page.execute_script("return document.querySelectorAll('#viewer tr').length") < 200
    press(page, "/")
    press(page, "pkg3/module_003")
    assert wait(page, "document.querySelector('#results a')?.textContent.includes('module_003')")


def test_without_javascript_the_answers_and_the_source_are_there(pages: dict[str, Path], tmp_path: Path) -> None:
    driver = chromium(tmp_path / "user", javascript=False)
    try:
        driver.get(pages["program"].as_uri())
        text = driver.find_element("css selector", "body").text
        assert "Hottest line" in text
        assert "11.9 MiB/s" in text
        assert "table.setdefault(key, [])" in text
        assert driver.find_elements("css selector", "[id='app.py:25']")
    finally:
        driver.quit()
