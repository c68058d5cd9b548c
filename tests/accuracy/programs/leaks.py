"""A line that leaks, among others that only look like it; says how fast it leaks in the last half."""

import json
import time

KEPT, CACHE, LATEST = [], {}, []


def step(number):
    """One request of a server."""
    KEPT.append(bytearray(20_011))  # at: leaks
    if number % 300 not in CACHE:
        CACHE[number % 300] = bytearray(30_011)  # at: cache
    bytearray(1_048_573)  # at: churn
    LATEST.append([bytes(500) for _ in range(100)])  # at: balanced
    if len(LATEST) > 15:
        LATEST.pop(0)


times = []
for number in range(1500):
    times.append(time.perf_counter())
    step(number)
    time.sleep(0.0005)
print(json.dumps({"bytes_per_s": 750 * 20_011 / (times[-1] - times[-751])}))
