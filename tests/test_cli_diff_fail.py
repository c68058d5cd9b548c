"""``rscalene diff --fail``: limits on what may grow, in every format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Four blocks of 1,000,003 bytes are 3.81 MiB; small blocks of the line may have a sample or two of 64 KiB.
GROWTH = r"mem \+3\.[89]\d MiB \(\+8\d\.\d %(25)?\)"

PROGRAM = """
import sys
kept = [bytearray(1_000_003) for _ in range(int(sys.argv[1]))]  # grows
same = bytearray(3_000_017)
"""


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profiles")
    (folder / "app.py").write_text(PROGRAM)
    for name, count in (("base", "5"), ("head", "9")):
        words = ["run", "-q", "-o", f"{name}.json", "app.py", count]
        subprocess.run([sys.executable, "-m", "rscalene", *words], cwd=folder, check=True, timeout=60)
    return folder


def diff(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "rscalene", "diff", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_growth_beyond_a_limit_is_exit_code_3_and_names_the_line(profiles: Path) -> None:
    code, text = diff(profiles, "base.json", "head.json", "--fail", "mem:+5%", "--min", "1MiB,1ms")
    assert code == 3
    assert re.search(f"failed: {GROWTH}  app.py:3  kept = \\[", text), text
    assert "app.py:4" not in text.split("failed:")[-1]
    assert diff(profiles, "base.json", "base.json", "--fail", "mem:+0%,peak:+0%")[0] == 0
    assert diff(profiles, "base.json", "head.json", "--fail", "mem:+1GiB")[0] == 0
    assert diff(profiles, "base.json", "head.json")[0] == 0


def test_github_gets_annotations_and_a_summary(profiles: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    words = ("base.json", "head.json", "--fail", "mem:+5%", "--format", "github")
    code, text = diff(profiles, *words, GITHUB_STEP_SUMMARY=str(summary))
    assert code == 3
    assert re.search(f"::error file=app.py,line=3,title=rscalene%3A {GROWTH}::kept = \\[", text), text
    assert "### Limits" in summary.read_text()


def test_json_has_the_verdict(profiles: Path) -> None:
    code, text = diff(profiles, "base.json", "head.json", "--fail", "mem:+5%", "--format", "json")
    failures = json.loads(text)["limits"]["failures"]
    assert code == 3
    assert [failure["place"] and failure["place"][1] for failure in failures] == [None, 3]


@pytest.mark.parametrize("wrong", ["speed:+5%", "mem", "mem:5%", "cpu:+1MiB"])
def test_rules_without_a_meaning_are_usage_errors(profiles: Path, wrong: str) -> None:
    code, text = diff(profiles, "base.json", "head.json", "--fail", wrong)
    assert code == 2
    assert "hint: a figure (mem, peak, live, cpu, wait)" in text
