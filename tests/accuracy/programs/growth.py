"""Allocates all the time, keeps much of it, and says how large the kernel saw its footprint."""

import json
import resource
import sys
import threading

KEPT = []
SCALE = float(sys.argv[1])


def objects():
    """Many small objects, kept."""
    KEPT.append({i: (i, str(i), [i]) for i in range(int(200_000 * SCALE))})


def churn():
    """Many small objects and some large ones, in threads, not kept."""
    for i in range(int(200 * SCALE)):
        [bytes(n) for n in range(0, 4000, 13)]
        bytearray(b"x") * (50_021 + i)


objects()
threads = [threading.Thread(target=churn) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
