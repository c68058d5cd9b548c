"""Known volumes of copying: by a builtin type, by a slice, by the C library itself, in large and small pieces."""

import ctypes

SOURCE = bytearray(range(256)) * 65_537
TARGET = bytearray(len(SOURCE))
FROM, TO = ((ctypes.c_char * len(SOURCE)).from_buffer(block) for block in (SOURCE, TARGET))
PIECE = memoryview(SOURCE)[:1_000_003]


def main():
    """Copy in turns."""
    for _ in range(40):
        bytearray(SOURCE)  # at: bytearray
        TARGET[:] = SOURCE  # at: slice
        ctypes.memmove(TO, FROM, len(SOURCE))  # at: memmove
        for _ in range(20):
            bytes(PIECE)  # at: pieces


main()
