"""Page faults (in blocks that malloc never keeps) and pure Python in turn: whose the kernel time is."""

import json
import sys
import time

SPENT = {"faults": 0, "pure": 0}


def main(seconds):
    """Both until they have had so much CPU time."""
    clock = time.thread_time_ns
    x = 1
    while sum(SPENT.values()) < seconds * 1e9:
        before = clock()
        bytearray(37 << 20)  # at: faults
        SPENT["faults"] += clock() - before
        before = clock()
        for i in range(100_003):  # at: loop
            x = (x * 31 + i) % 65_537  # at: pure
        SPENT["pure"] += clock() - before


main(float(sys.argv[1]))
print(json.dumps(SPENT))
