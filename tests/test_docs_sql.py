"""The Python of docs/sql.md and docs/testing.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("sql.md", "testing.md")
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_recipe_runs(block: str, tmp_path: Path) -> None:
    (tmp_path / "test_recipe.py").write_text(block)
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "def test_" in block else []
    command = [sys.executable, *runner, "test_recipe.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "q.print()" in block:
        assert "for each of the 6 rows" in done.stderr
