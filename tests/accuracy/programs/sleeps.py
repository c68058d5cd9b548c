"""Sleeps for a second."""

import time

for _ in range(20):
    time.sleep(0.05)  # at: sleep
