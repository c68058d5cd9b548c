"""``rscalene diff``, the formats of ``rscalene view``, and ``--open``."""

from __future__ import annotations

import json
import marshal
import time
from pathlib import Path

import html_samples
import pytest
from conftest import Run
from test_result import changed


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A saved profile."""
    return html_samples.write(html_samples.program(tmp_path), tmp_path / "before.json")


def test_a_difference_is_an_answer_and_no_error(rscalene: Run, program: Path) -> None:
    done = rscalene("diff", program, changed(program))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Lines" in done.stdout
    assert "(was " in done.stdout
    assert "beyond the noise" in done.stdout
    assert max(map(len, rscalene("diff", program, program, "--width", "50").stdout.splitlines())) <= 50


def test_a_difference_inside_the_noise_is_marked_as_noise(rscalene: Run, program: Path) -> None:
    profile = json.loads(program.read_text())
    line = max(profile["files"][0]["lines"], key=lambda line: line["python_s"])
    line["python_s"] += 0.002
    profile["totals"]["python_s"] += 0.002
    after = program.with_name("after.json")
    after.write_text(json.dumps(profile))
    text = rscalene("diff", program, after).stdout
    assert "within the noise" in text
    assert "1 line differs by no more than chance" in text
    assert "(+2.00 ms)" in rscalene("diff", program, after, "--all-lines").stdout
    assert json.loads(rscalene("diff", "--json", program, after).stdout)["totals"]["cpu_s"]["noise"] is True


def test_the_ending_picks_the_format_of_a_difference(rscalene: Run, program: Path, tmp_path: Path) -> None:
    after = changed(program)
    for name, beginning in {"d.json": '{"format":', "d.html": "<!doctype html>", "d.txt": "\n"}.items():
        done = rscalene("diff", program, after, "-o", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", f"saved {name}\n")
        assert (tmp_path / name).read_text().startswith(beginning)
    lines = json.loads((tmp_path / "d.json").read_text())["lines"]
    assert len(lines) == len(json.loads(program.read_text())["files"][0]["lines"])
    assert "price" in (tmp_path / "d.html").read_text()
    rscalene("diff", "--no-source", program, after, "-o", "d.html")
    assert "<code>def " not in (tmp_path / "d.html").read_text()


def test_incomparable_profiles_give_an_error(rscalene: Run, program: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[1]")
    for words, part in [
        ((program, "none.json"), "cannot read `none.json`: no such file"),
        (("bad.json", program), "cannot read `bad.json`: it is JSON, but not a profile"),
        ((program, program, "-o", "d.pstats"), "cannot tell the format"),
        ((program, program, "--open"), "cannot open what is not HTML"),
    ]:
        done = rscalene("diff", *words)
        assert done.returncode == 2
        assert part in done.stderr
        assert "\nhint: " in done.stderr
        assert done.stdout == ""


def test_view_turns_a_profile_into_every_format(rscalene: Run, program: Path, tmp_path: Path) -> None:
    names = {"collapsed": "p.folded", "speedscope": "p.speedscope.json", "json": "p.json", "html": "p.html"}
    for word, name in names.items():
        shown = rscalene("view", program, "--format", word)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert rscalene("view", program, "-o", name).returncode == 0
        assert (tmp_path / name).read_text() == shown.stdout
    assert "Hottest lines" in rscalene("view", program, "--format", "text").stdout
    rscalene("view", program, "-o", "p.pstats")
    assert isinstance(marshal.loads((tmp_path / "p.pstats").read_bytes()), dict)
    rscalene("view", program, "--format", "json", "-o", "odd.name")
    assert json.loads((tmp_path / "odd.name").read_text())["format"]["name"] == "rscalene-profile"
    refused = rscalene("view", program, "--format", "xml")
    assert refused.returncode == 2
    assert "collapsed, speedscope, pstats" in refused.stderr


@pytest.fixture
def browser(tmp_path: Path, clean_env: dict[str, str]) -> dict[str, str]:
    """An environment whose browser writes down what it is to open."""
    script = tmp_path / "browser"
    script.write_text('#!/bin/sh\necho "$*" > "$0.part" && mv "$0.part" "$0.opened"\n')
    script.chmod(0o755)
    return {**clean_env, "BROWSER": str(script)}


def opened(folder: Path) -> str:
    """What the browser was to open, within ten seconds."""
    end = time.monotonic() + 10
    while not (folder / "browser.opened").exists():
        assert time.monotonic() < end, "no browser was started"
        time.sleep(0.02)
    return (folder / "browser.opened").read_text().strip()


def test_view_opens_the_page_that_it_wrote(
    rscalene: Run, program: Path, tmp_path: Path, browser: dict[str, str]
) -> None:
    done = rscalene("view", "--open", program, env=browser)
    assert (done.returncode, done.stderr) == (0, f"saved {tmp_path}/before.html\n")
    assert opened(tmp_path) == str(tmp_path / "before.html")


def test_run_opens_a_page_whatever_it_saves(rscalene: Run, tmp_path: Path, browser: dict[str, str]) -> None:
    done = rscalene(
        "run", "--open", "-o", "p.json", "-c", "sum(range(10**6))", env={**browser, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0
    assert (tmp_path / "p.json").exists()
    page = Path(opened(tmp_path))
    assert page.parent == tmp_path
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o600


def test_without_a_browser_there_is_a_hint(rscalene: Run, program: Path, clean_env: dict[str, str]) -> None:
    bare = {name: value for name, value in clean_env.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}}
    done = rscalene("view", "--open", program, env=bare)
    assert done.returncode == 4
    assert "no browser was found\nhint: open the file yourself" in done.stderr
    assert program.with_suffix(".html").exists()
