"""What the tests read in profiles."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

WORK = Path(__file__).with_name("work.py")


def line_of(text: str) -> int:
    """Return the number of the line of `work.py` that has the text."""
    numbers = [number for number, line in enumerate(WORK.read_text().splitlines(), 1) if text in line]
    assert len(numbers) == 1, text
    return numbers[0]


def labels(profile: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of labels by the task's name."""
    return {row["labels"]["task"]: row for row in profile.get("labels", [])}


def bytes_of(profile: dict[str, Any], task: str) -> dict[int, int]:
    """Return the bytes that a task allocated on each line of `work.py`."""
    return {
        line["line"]: line["alloc_bytes"]
        for line in labels(profile)[task]["lines"]
        if re.search(r"\bwork\.py$", profile["files"][line["file"]]["path"])
    }


def noise(seconds: float, interval: float = 0.002) -> float:
    """Four standard errors of a part of the CPU time, and what a busy machine adds."""
    return 4 * math.sqrt(seconds * interval) + 0.05


def for_spark(env: dict[str, str]) -> dict[str, str]:
    """Return the environment of a Spark session: this interpreter, and a JVM that starts fast."""
    java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    return {**env, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "JDK_JAVA_OPTIONS": java}
