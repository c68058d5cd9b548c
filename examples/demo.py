"""A small program with one of everything: Python, native code, the kernel, waiting, and memory that stays.

Profile it with ``rscalene run examples/demo.py``; it takes about two seconds.
"""

import hashlib
import json
import os
import threading
import time

kept: list[bytes] = []


def sieve(limit: int) -> int:
    """Count the primes below ``limit``: plain Python."""
    is_prime = bytearray([1]) * limit
    count = 0
    for number in range(2, limit):
        if is_prime[number]:
            count += 1
            for multiple in range(number * number, limit, number):
                is_prime[multiple] = 0
    return count


def digest(rounds: int) -> str:
    """Hash a block again and again: native code that lets go of the GIL."""
    block = b"rscalene" * 100_000
    for _ in range(rounds):
        block = hashlib.sha256(block).digest() + block[32:]
    return hashlib.sha256(block).hexdigest()


def encode(rows: int) -> int:
    """Build rows and encode them: allocations, then native code that holds the GIL."""
    table = [{"id": row, "name": f"row {row}", "tags": ["a", "b"]} for row in range(rows)]
    return len(json.dumps(table))


def read_kernel(megabytes: int) -> None:
    """Read random bytes: kernel time, and memory that is kept."""
    with open("/dev/urandom", "rb") as source:
        for _ in range(megabytes):
            kept.append(source.read(1 << 20))


def main() -> None:
    """Do it all, with one thread that works beside."""
    beside = threading.Thread(target=digest, args=(400,))
    beside.start()
    primes = sieve(1_500_000)
    size = encode(150_000)
    read_kernel(64)
    beside.join()
    time.sleep(0.3)
    print(f"{primes} primes, {size} bytes of JSON, {len(kept)} blocks kept, process {os.getpid()}")


if __name__ == "__main__":
    main()
