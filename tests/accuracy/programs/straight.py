"""Eight equal statements in a loop, and the same work behind calls."""

import sys
import time


def straight(until: float) -> None:
    """Eight lines of equal work."""
    a = b = c = d = e = f = g = h = 3
    clock = time.process_time
    while clock() < until:
        for _ in range(2000):
            a = a * 7 % 1009 + a * 5 % 997 + a * 3 % 991  # at: s1
            b = b * 7 % 1009 + b * 5 % 997 + b * 3 % 991  # at: s2
            c = c * 7 % 1009 + c * 5 % 997 + c * 3 % 991  # at: s3
            d = d * 7 % 1009 + d * 5 % 997 + d * 3 % 991  # at: s4
            e = e * 7 % 1009 + e * 5 % 997 + e * 3 % 991  # at: s5
            f = f * 7 % 1009 + f * 5 % 997 + f * 3 % 991  # at: s6
            g = g * 7 % 1009 + g * 5 % 997 + g * 3 % 991  # at: s7
            h = h * 7 % 1009 + h * 5 % 997 + h * 3 % 991  # at: s8


straight(time.process_time() + float(sys.argv[1]))
