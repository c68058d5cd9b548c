"""What programs under test begin with: the modules they use, and work that takes a known CPU time on one line."""

from __future__ import annotations

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
