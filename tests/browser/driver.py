"""A headless Chromium, the sample pages, and what a reader does with them."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import html_samples
import pytest

Open = Callable[..., Any]

VIEWS = ("overview", "source", "flame", "functions", "files", "run")


class Pages(dict[str, Path]):
    """The sample profiles, rendered by the command when they are first asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self.folders = folders

    def __missing__(self, name: str) -> Path:
        folder = self.folders.mktemp(name)
        profile = html_samples.write(getattr(html_samples, name)(folder), folder / "profile.json")
        page = self[name] = folder / "report.html"
        command = [sys.executable, "-m", "rscalene", "view", str(profile), "-o", str(page)]
        subprocess.run(command, check=True, timeout=110)
        return page


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


def choose(page: Any, prefix: str) -> None:
    """Pick the option of threads and processes that begins with `prefix`."""
    page.execute_script(
        "const s = document.getElementById('only-select');"
        "s.value = [...s.options].find(o => o.text.startsWith(arguments[0])).value;"
        "s.dispatchEvent(new Event('change'))",
        prefix,
    )


def size(page: Any, width: int, height: int) -> None:
    """Size of the window's inside."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def media(page: Any, kind: str = "", **features: str) -> None:
    """Emulate a medium and preferences of the reader."""
    wanted = [{"name": "prefers-" + name.replace("_", "-"), "value": value} for name, value in features.items()]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": wanted})
