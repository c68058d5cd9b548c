"""Tasks with known costs. Each returns the CPU seconds that its thread took."""

import hashlib
import time


def crunch(number: int) -> float:
    """Burn CPU in Python."""
    began, total = time.thread_time(), 0
    for value in range(150_000):
        total += value * number
    return time.thread_time() - began


def digest(number: int) -> float:
    """Allocate one block of 20 MB, and burn CPU in native code."""
    began = time.thread_time()
    block = b"%d" % (number % 10) * 20_000_000
    hashlib.sha256(block).digest()
    return time.thread_time() - began


def grow(number: int) -> float:
    """Allocate ten blocks of half a megabyte."""
    began = time.thread_time()
    blocks = [bytearray(500_000) for _ in range(10)]
    return time.thread_time() - began + 0 * len(blocks)


def fat(number: int) -> int:
    """Allocate 800,056 bytes on the one line."""
    row = [0] * 100_000
    return len(row)
