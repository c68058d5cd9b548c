"""A pool of threads that digests blocks, and a main thread that waits for it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor


def digest(number):
    block = bytes([number]) * (4 << 20)
    return hashlib.pbkdf2_hmac("sha256", block[:64], b"salt", 60_000).hex()  # slowest


results = []
history = []
with ThreadPoolExecutor(4) as pool:
    for _number, found in enumerate(pool.map(digest, range(40))):
        results.append(found)
        history.append(bytearray(1 << 20))  # peak
print(len(set(results)), len(history))
