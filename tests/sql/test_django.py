"""The same figures on sqlite, PostgreSQL and MariaDB, whichever way the code is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SHOP = Path(__file__).with_name("shop.py")

EXPECTED = {
    "cause": [1, 30, 0],
    "n+1": [30, 30, 0],
    "update": [1, 2, 0],
    "failed": [1, None, 1],
    "raw": [1, 1, 0],
    "duplicate": [6, 6, 0],
}


@pytest.mark.parametrize("way", ["script", "manage", "pytest"])
def test_the_counts_are_the_same_everywhere(database: dict[str, Any], way: str, tmp_path: Path) -> None:
    shutil.copy(SHOP, tmp_path / "shop.py")
    environment = {
        **os.environ,
        "SHOP_DATABASE": json.dumps(database),
        "SHOP_REPORT": str(tmp_path / "report.json"),
        "SHOP_MYSQL": "1" if "mysql" in database["ENGINE"] else "",
    }
    if way == "pytest":
        (tmp_path / "conftest.py").write_text("import shop\n")
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "shop.py"]
    else:
        command = ["shop.py", "script" if way == "script" else "test"]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["count"] == 40
    figures = found["found"]
    assert figures["failed"][0] == figures["failed"][2] == 1
    del figures["failed"]
    assert figures == {key: value for key, value in EXPECTED.items() if key != "failed"}
    assert found["findings"] == [["N+1", 30, "n+1"], ["duplicate", 6, "duplicate"]]
    assert found["cause"] == ["cause"]
    assert found["words"] >= 4
    sources = [line for line in found["text"].splitlines() if "s3cret" in line and "shop.py:" not in line]
    assert sources == []
