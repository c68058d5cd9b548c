"""zlib, hashlib and base64: blocks are packed."""

import base64
import hashlib
import random
import zlib

block = random.Random(1).randbytes(3_000_000)
packed = {}
for level in range(1, 9):
    small = zlib.compress(block, level)  # slowest
    packed[hashlib.sha256(small).hexdigest()] = base64.b64encode(block + small)  # peak
print(len(packed))
