"""``Result``, ``Diff`` and ``load``: profiles as objects."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import html_samples
import pytest
import rscalene
from rscalene import Profiler, Result, load


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A saved profile."""
    return html_samples.write(html_samples.program(tmp_path), tmp_path / "before.json")


def changed(program: Path) -> Path:
    """The same program later: a line of it takes twice as long and has moved down."""
    profile = json.loads(program.read_text())
    (file,) = profile["files"]
    hottest = max(file["lines"], key=lambda line: line["python_s"])
    profile["totals"]["python_s"] += hottest["python_s"]
    hottest["python_s"] *= 2
    for line in file["lines"]:
        line["line"] += 7
    path = program.with_name("after.json")
    path.write_text(json.dumps(profile))
    return path


def test_a_loaded_profile_is_what_the_file_says(program: Path) -> None:
    result = load(program)
    assert result.to_dict() == json.loads(result.to_json()) == json.loads(result.to_json(pretty=True))
    saved = json.loads(program.read_text())
    assert [line["line"] for line in result.lines] == [line["line"] for line in saved["files"][0]["lines"]]
    assert result.lines[0]["file"] == saved["files"][0]["path"]
    assert result.totals["python_s"] == saved["totals"]["python_s"]
    assert {function["qualname"] for function in result.functions} >= {"load", "main"}
    assert pickle.loads(pickle.dumps(result)).to_json() == result.to_json()
    assert Result.from_json(result.to_json().encode()).to_json() == result.to_json()


def test_changes_by_the_caller_do_not_reach_the_profile(program: Path) -> None:
    result = load(program)
    before = copy.deepcopy(result.lines)
    result.to_dict()["files"].clear()
    result.lines[0]["line"] = 0
    assert result.lines == before


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "it is empty"),
        ("{", "it ends in the middle"),
        ('{"a": 1}', "not a profile"),
        ('{"format": {"name": "other", "major": 1, "minor": 0}}', "its format is `other`"),
        ('{"format": {"name": "rscalene-profile", "major": 9, "minor": 0}}', "format 9.0"),
        ("\x00\ud800", "UTF-8"),
    ],
)
def test_a_file_that_is_no_profile_is_a_value_error_with_a_hint(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=part) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).splitlines()[1].startswith("hint: ")


def test_a_profile_that_was_cut_off_anywhere_is_refused(program: Path) -> None:
    whole = program.read_bytes().rstrip()
    for length in range(0, len(whole), len(whole) // 50):
        program.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="hint: "):
            load(program)


def test_a_file_that_cannot_be_read_is_an_os_error_of_its_class(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file\nhint: ") as missing:
        load(tmp_path / "none.json")
    assert missing.value.errno == 2
    with pytest.raises(IsADirectoryError, match="hint: "):
        load(tmp_path)


def test_the_bundle_is_static_and_has_every_form(program: Path) -> None:
    bundle = load(program)._repr_mimebundle_()
    assert list(bundle) == ["text/plain", "text/html", "text/markdown", "application/vnd.rscalene.v1+json"]
    html = bundle["text/html"]
    for active in ("<script", "<iframe", "<link", "<img", "http:", "https:", "localhost", "onclick", "javascript:"):
        assert active not in html
    assert "Hottest lines" in html
    assert html.count("<table") == html.count("</table>") >= 3
    assert "Hottest lines" in bundle["text/plain"]
    assert "\x1b" not in bundle["text/plain"]
    rows = [row for row in bundle["text/markdown"].splitlines() if row.startswith("|")]
    assert len(rows) > 5
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert bundle["application/vnd.rscalene.v1+json"] == load(program).to_dict()


def test_only_what_was_asked_for_is_in_the_bundle(program: Path) -> None:
    result = load(program)
    assert list(result._repr_mimebundle_(include=["text/plain"])) == ["text/plain"]
    assert "text/html" not in result._repr_mimebundle_(exclude=["text/html"])


def test_hostile_names_become_no_markup(tmp_path: Path) -> None:
    path = html_samples.write(html_samples.hostile(tmp_path), tmp_path / "p.json")
    result = load(path)
    html = result._repr_mimebundle_()["text/html"]
    assert "<script" not in html
    assert "<img" not in html
    markdown = re.sub(r"(`+).*?\1", "", result.to_markdown())
    assert "<" not in markdown.replace("\\<", "")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_has_the_json_s_keys_as_columns(program: Path, library: str) -> None:
    # In a process of its own: these libraries start threads, which other tests would see.
    script = f"""
import rscalene
result = rscalene.load({str(program)!r})
frame = result.to_dataframe({library!r})
assert type(frame).__module__.split(".")[0] == {library!r}
rare = {{"idle_s", "helpers_s", "gc_s", "cpu_s_se", "sql_count", "sql_s", "sql_rows", "sql_mark", "sql_build_s"}}
assert rare <= set(frame.columns)
keys = [key for key, value in result.lines[0].items() if not isinstance(value, list)]
assert [key for key in frame.columns if key not in rare] == [key for key in keys if key not in rare]
assert list(frame["python_s"]) == [line["python_s"] for line in result.lines]
assert type(result.to_dataframe()) is type(frame)
assert len(result.diff(result).to_dataframe({library!r})) == len(result.lines)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_library_is_imported_for_the_data_frame_alone(program: Path) -> None:
    script = f"""
import sys, rscalene
result = rscalene.load({str(program)!r})
result.lines, result.to_json(), result._repr_mimebundle_(), result.to_html()
assert not {{"pandas", "polars", "numpy"}} & set(sys.modules)
sys.modules["pandas"] = sys.modules["polars"] = None
try:
    result.to_dataframe()
except ImportError as error:
    assert "hint: pip install pandas" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(ValueError, match="'pandas' or 'polars'"):
        load(program).to_dataframe("numpy")


def test_the_ending_picks_the_format(program: Path, tmp_path: Path) -> None:
    result = load(program)
    beginnings = {
        "p.json": b'{"format"',
        "p.html": b"<!doctype html>",
        "p.txt": b"\n\xe2\x94\x80\xe2\x94\x80 ",
        "p.collapsed": b"<module> (",
        "p.folded": b"<module> (",
        "p.speedscope.json": b'{"$schema"',
        "p.pstats": b"{",
    }
    for name, beginning in beginnings.items():
        result.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(beginning), name
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="by its ending\nhint: "):
        result.save(tmp_path / "p.xml")
    with pytest.raises(OSError, match="hint: "):
        result.save(tmp_path / "none" / "p.json")
    assert result.to_html(tmp_path / "q.html") == (tmp_path / "q.html").read_text()
    assert "def load" not in result.to_html(source=False)


def test_an_unknown_order_fails_at_once(program: Path) -> None:
    with pytest.raises(ValueError, match="sort must be one of cpu, "):
        Result(load(program)._data, sort="time")


def test_changed_lines_are_distinguished_from_moved_lines(program: Path) -> None:
    before, after = load(program), load(changed(program))
    diff = before.diff(after)
    first = diff.lines[0]
    assert first["after_line"] == first["before_line"] + 7
    assert first["cpu_s"]["delta"] > 0
    assert not first["cpu_s"]["noise"]
    assert all(line["cpu_s"]["delta"] == 0 for line in diff.lines[1:])
    assert diff.to_dict()["format"] == {"name": "rscalene-diff", "major": 1, "minor": 0}
    text = diff.to_text()
    assert f"(was {first['before_line']})" in text
    assert "are the same" in text
    assert max(map(len, diff.to_text(width=60).splitlines())) <= 60
    assert list(diff._repr_mimebundle_()) == ["text/plain", "text/html", "text/markdown"]
    assert "<script" not in diff.to_html()


def test_a_profile_does_not_differ_from_itself(program: Path) -> None:
    result = load(program)
    text = result.diff(result).to_text()
    assert "no line changed by more than chance" in text
    assert "no change" in text


def test_a_page_is_opened_in_the_browser_that_is_named(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
import pathlib, rscalene
path = rscalene.load({str(program)!r}).open()
assert pathlib.Path(path).read_text().startswith("<!doctype html>")
print(path)
pathlib.Path(path).unlink()
"""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert (tmp_path / "opened").read_text().strip() == Path(done.stdout.strip()).as_uri()


def test_a_profiler_gives_a_result() -> None:
    profiler = Profiler()
    with pytest.raises(RuntimeError, match="never run"):
        profiler.result()
    with profiler:
        sum(i * i for i in range(3_000_000))
    result: Any = profiler.result()
    assert isinstance(result, rscalene.Result)
    assert "sum(i * i" in max(result.lines, key=lambda line: line["python_s"] or 0)["source"]
    assert repr(result).startswith("<rscalene.Result ")
