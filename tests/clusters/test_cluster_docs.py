"""Each recipe of docs/clusters.md runs as it is written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run

from .figures import for_spark

PAGE = Path(__file__).parents[2] / "docs/clusters.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_recipe_runs(block: str, tmp_path: Path, clean_env: dict[str, str]) -> None:
    if "pyspark" in block and shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    (tmp_path / "app.py").write_text(block)
    ran = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env=for_spark(clean_env),
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for page in re.findall(r'save\("(.*?)"\)', block):
        assert (tmp_path / page).read_text().startswith("<!doctype html>")


CELERY = """
import rscalene.celery
from celery import Celery

app = Celery("shop", set_as_current=False)
app.conf.task_always_eager = True
rscalene.celery.instrument(app, when="never")

@app.task(name="grow")
def grow(number):
    return len(bytearray(3_000_000))

for number in range(4):
    grow.delay(number)
"""


def test_celerys_tasks_have_labels_under_rscalene_run(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CELERY)
    ran = rscalene("run", "-q", "-o", "run.json", "app.py")
    assert ran.returncode == 0, ran.stderr
    rows = json.loads((tmp_path / "run.json").read_text())["labels"]
    (row,) = [row for row in rows if row["labels"] == {"task": "grow"}]
    assert row["count"] == 4
    assert max(line["alloc_bytes"] for line in row["lines"]) == pytest.approx(12_000_000, rel=1e-3)
