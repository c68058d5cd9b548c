"""Make the pictures of the documentation again: `make pictures` writes
docs/images/{terminal,report,report-dark,notebook}.webp.

The program is examples/demo.py. Figures differ from run to run, as every run does.
"""

from __future__ import annotations

import base64
import html
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from rscalene import load

from browser.driver import chromium, media, size

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"

#: Colours of the terminal by their number.
COLOURS = ["#3b4048", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0"]


def style(codes: str) -> str:
    """CSS of one escape sequence."""
    rules = {"1": "font-weight:700", "2": "opacity:.65", "7": "background:#d7dae0;color:#1e2127"}
    rules |= {str(30 + at): f"color:{colour}" for at, colour in enumerate(COLOURS)}
    rules |= {str(90 + at): f"color:{colour}" for at, colour in enumerate(COLOURS)}
    return ";".join(rules[code] for code in codes.split(";") if code in rules)


def page_of(text: str) -> str:
    """Text with colours of a terminal as a page."""
    spans = []
    for part in re.split(r"(?=\x1b\[)", text):
        codes, words = re.match(r"(?:\x1b\[([\d;]*)m)?(.*)", part, re.S).groups()  # type: ignore[union-attr]
        spans.append(f'<span style="{style(codes or "")}">{html.escape(words)}</span>')
    look = "margin:0;padding:16px 20px;background:#1e2127;color:#d7dae0;font:14px/1.35 'DejaVu Sans Mono',monospace"
    return f'<meta charset="utf-8"><body style="margin:0"><pre style="{look}">{"".join(spans)}</pre>'


def cell_of(output: str) -> str:
    """The output of a notebook's cell as a page, with the fonts and the width of JupyterLab."""
    look = "margin:0;padding:12px 18px;max-width:960px;font:13px/1.4 system-ui,'DejaVu Sans',sans-serif"
    return f'<meta charset="utf-8"><body style="{look}">{output}'


def shoot(browser: Any, page: Path, width: int, height: int, name: str, scheme: str = "light") -> None:
    """Write the picture of a page."""
    media(browser, color_scheme=scheme)
    size(browser, width, height)
    browser.get(page.as_uri())
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 75})
    (IMAGES / name).write_bytes(base64.b64decode(picture["data"]))


def main() -> None:
    """Run the demo once, and look at its report."""
    rscalene = [sys.executable, "-m", "rscalene"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        saved, page, terminal = (str(place / name) for name in ("demo.json", "demo.html", "terminal.html"))
        subprocess.run([*rscalene, "run", "-q", "-o", saved, "examples/demo.py"], cwd=ROOT, check=True)
        subprocess.run([*rscalene, "view", saved, "-o", page], check=True)
        shown = [*rscalene, "view", saved, "--color", "always", "--width", "100"]
        text = subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip("\n")
        Path(terminal).write_text(page_of(text))
        notebook = place / "notebook.html"
        notebook.write_text(cell_of(load(saved)._repr_mimebundle_()["text/html"]))
        browser = chromium(place / "user")
        try:
            shoot(browser, Path(terminal), 900, 32 + 19 * (text.count("\n") + 1), "terminal.webp")
            shoot(browser, Path(page), 1300, 900, "report.webp")
            shoot(browser, Path(page), 1300, 900, "report-dark.webp", "dark")
            shoot(browser, notebook, 1000, 430, "notebook.webp")
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
