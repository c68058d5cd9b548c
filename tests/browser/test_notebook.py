"""The stored notebook, converted and looked at in headless Chromium."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"

#: Contrast (WCAG) of each piece of text with what lies behind it, and its size against the room it has.
LOOK = """
const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = rgba(getComputedStyle(at).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255, 255];
};
const least = {contrast: 21};
document.querySelectorAll('.rscalene').forEach((output) => {
  output.querySelectorAll('details').forEach((details) => { details.open = true; });
  const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('style')) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = rgba(style.color).map((c, i) => c * style.opacity + ground[i] * (1 - style.opacity));
    const [a, b] = [luminance(ink), luminance(ground)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast >= least.contrast) continue;
    Object.assign(least, {contrast, text: walker.currentNode.data, class: element.className});
  }
});
return least;
"""


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Any:
    """The notebook in the browser, as JupyterLab's light or dark theme shows it."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--theme", request.param]
    subprocess.run([*command, "--output-dir", str(tmp_path), str(NOTEBOOK)], check=True, capture_output=True)
    browser.get((tmp_path / "notebook.html").as_uri())
    return browser


def test_a_stored_notebook_can_be_read_in_light_and_dark(page: Any) -> None:
    least = page.execute_script(LOOK)
    assert least["contrast"] >= 4.5, least


def test_the_bars_show_and_nothing_sticks_out(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('.rscalene').length") >= 3
    bars = page.execute_script(
        "return [...document.querySelectorAll('.rscalene .bar.big i')]"
        ".map((part) => part.getBoundingClientRect().width)"
    )
    assert len(bars) >= 4
    assert all(width > 2 for width in bars)
    wide = page.execute_script(
        "return [...document.querySelectorAll('.rscalene')].filter((o) => o.scrollWidth > o.clientWidth + 1).length"
    )
    assert wide == 0


def test_source_is_in_the_code_font_and_kinds_differ_without_colour(page: Any) -> None:
    fonts = page.execute_script(
        "return [...document.querySelectorAll('.rscalene code, pre.rscalene-lines')]"
        ".map((code) => getComputedStyle(code).fontFamily)"
    )
    assert fonts
    assert all("mono" in font.lower() for font in fonts), fonts
    kinds = page.execute_script(
        "return [...document.querySelectorAll('.rscalene .kind')].map((kind) => kind.textContent + kind.title)"
    )
    assert set(kinds) <= {"PPython", "Nnative", "Ssystem", "Wwaiting"}
    assert len(kinds) > 5
