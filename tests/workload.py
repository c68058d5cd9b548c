"""What programs under test begin with: the modules they use, and work that takes a known CPU time on one line."""

from __future__ import annotations

import re
from typing import Any

WORK = """\
import ctypes, faulthandler, os, resource, signal, subprocess, sys, threading, time
def work(seconds=0.15):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))  # the line
    return seconds
"""

# Where `WORK` spends its time.
LINE = 5


def seconds(profile: dict[str, Any]) -> float:
    """CPU time on the line of `WORK`."""
    return sum(
        float(line["python_s"] + line["native_s"] + line["system_s"])
        for file in profile["files"]
        if file["path"].endswith(".py")
        for line in file["lines"]
        if line["line"] == LINE
    )


def dropped(profile: dict[str, Any]) -> list[str]:
    """What the profile says of records that found no room, and of those that were cut off.

    Frames are another matter: some are met half made, on 3.11 and 3.12.
    """
    of_frames = re.compile(r"lost records: frames that could not be read \d+")
    return [
        notice["text"]
        for notice in profile["notices"]
        if notice["code"] == "lost_records" and not of_frames.fullmatch(notice["text"])
    ]
