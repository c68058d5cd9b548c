"""The report for every reader: colours, keys, narrow windows, paper, no script."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .driver import VIEWS, Open, chromium, media, press, size, wait

# Every element with text of its own, its colour against what lies behind it: [ratio, needed, text] of those too faint.
CONTRAST = """
const parse = text => {
  const [r, g, b, a] = text.match(/[-\\d.e]+/g).map(Number), unit = text.startsWith('color(') ? 255 : 1;
  return [r * unit, g * unit, b * unit, a ?? 1];
};
const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
const luminance = c => c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const faint = [];
for (const e of document.querySelectorAll('body *')) {
  if (!e.checkVisibility({ checkVisibilityCSS: true, checkOpacity: true })) continue;
  if (e.disabled || e.closest('script, style, .sr, #live')) continue;
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  const style = getComputedStyle(e), chain = [];
  for (let p = e; p; p = p.parentElement) chain.unshift(parse(getComputedStyle(p).backgroundColor));
  const back = chain.reduce((below, top) => over(top, below), [255, 255, 255]);
  const ink = over(parse(e instanceof SVGElement ? style.fill : style.color), back);
  const [a, b] = [luminance(ink), luminance(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
  const big = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  if (ratio < (big ? 3 : 4.5)) faint.push([ratio.toFixed(2), e.tagName, e.className, e.textContent.slice(0, 40)]);
}
return faint;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(visit: Open, scheme: str) -> None:
    page = visit("program")
    media(page, color_scheme=scheme)
    for view in VIEWS:
        page.execute_script(f"location.hash = '{view}'")
        wait(page, f"document.querySelector('#{view}').classList.contains('on')")
        if view == "source":
            wait(page, "document.querySelector('tr.sel td')").click()
        time.sleep(0.3)
        assert page.execute_script(CONTRAST) == [], view
    media(page)


def test_tables_have_captions_and_headers_with_a_scope(visit: Open) -> None:
    page = visit("program", "#app.py:25")
    wait(page, "document.querySelector('tr.sel')")
    bad = page.execute_script(
        "return [...document.querySelectorAll('table')].filter(t => !t.caption?.textContent || "
        "[...t.querySelectorAll('thead th')].some(h => h.scope !== 'col' || !h.textContent) || "
        "[...t.querySelectorAll('tbody th')].some(h => h.scope !== 'row')).map(t => t.outerHTML.slice(0, 200))"
    )
    assert bad == []
    sorts = "return [...document.querySelectorAll('.js .t thead')].map(h => h.querySelectorAll('[aria-sort]').length)"
    assert page.execute_script(sorts)[:1] == [1]


def test_the_focus_goes_through_the_page_in_reading_order(visit: Open) -> None:
    page = visit("program")
    assert (
        page.execute_script(
            'return document.querySelectorAll(\'[tabindex]:not([tabindex="0"], [tabindex="-1"])\').length'
        )
        == 0
    )
    seen = []
    for _ in range(14):
        press(page, "\ue004")
        seen.append(page.execute_script(
            "const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.textContent"
        ))  # fmt: skip
    assert seen[:8] == [
        "Skip to the summary",
        "Overview",
        "Source",
        "Flame graph",
        "Functions",
        "Files",
        "Run",
        "search",
    ]
    assert seen[8:12] == ["only-select", "cumulative", "theme", "help"]
    assert seen[12] == "app.py:25", "the hottest line"
    named = page.execute_script(
        "return [...document.querySelectorAll('button, select, input, a')].filter(e => "
        "!(e.textContent.trim() || e.getAttribute('aria-label'))).map(e => e.outerHTML)"
    )
    assert named == []


def test_nothing_moves_for_a_reader_who_wants_no_motion(visit: Open) -> None:
    page = visit("program")
    moving = (
        "return [...document.querySelectorAll('*')].filter(e => { const s = getComputedStyle(e); return "
        "s.animationName !== 'none' || s.transitionDuration !== '0s' || s.scrollBehavior !== 'auto'; }).length"
    )
    media(page, reduced_motion="reduce")
    assert page.execute_script(moving) == 0
    media(page)


@pytest.mark.parametrize("width", [1300, 800, 390])
def test_no_view_is_wider_than_the_window(visit: Open, width: int) -> None:
    page = visit("program")
    size(page, width, 800)
    for view in VIEWS:
        page.execute_script(f"location.hash = '{view}'")
        wait(page, f"document.querySelector('#{view}').classList.contains('on')")
        time.sleep(0.1)
        over = page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, view


def test_print_shows_everything_readable_and_nothing_to_press(visit: Open) -> None:
    page = visit("program")
    media(page, "print")
    text = page.execute_script("return document.body.innerText")
    for part in (
        "Hottest line",
        "Who owns the peak",
        "table.setdefault(key, [])",
        "What the figures mean",
        "worker <1>",
    ):
        assert part in text
    visible = "[...document.querySelectorAll('nav a, #tools *, .tbar button')].filter(e => e.checkVisibility()).length"
    assert page.execute_script("return " + visible) == 0
    media(page)


def test_without_javascript_the_answers_and_the_source_are_there(pages: dict[str, Path], tmp_path: Path) -> None:
    driver = chromium(tmp_path / "user", javascript=False)
    try:
        driver.get(pages["program"].as_uri())
        text = driver.find_element("css selector", "body").text
        assert "Hottest line" in text
        assert "11.9 MiB/s" in text
        assert "2.96 s ±2%" in text
        assert "table.setdefault(key, [])" in text
        assert driver.find_elements("css selector", "[id='app.py:25']")
    finally:
        driver.quit()
