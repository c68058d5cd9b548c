"""Small objects with known bytes."""

KEPT = []


def ints():
    """A comprehension of a million ints."""
    KEPT.append([1_000_000 + i for i in range(1_000_000)])  # at: ints


def text():
    """String building."""
    word = ""
    for i in range(20_000):
        word += str(i) * 3  # at: text
    KEPT.append(word)


def table():
    """Dict growth."""
    known = {}
    for i in range(200_000):
        known[i] = None  # at: dict
    KEPT.append(known)


def tuples():
    """Tuples of floats."""
    for i in range(200_000):
        KEPT.append((i * 1.5, i))  # at: tuples


def churns():
    """Lists that go at once."""
    for _ in range(300_000):
        _ = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, None]  # at: lists


def objects():
    """Byte strings of 100 bytes."""
    for _ in range(100_000):
        KEPT.append(bytes(100))  # at: bytes


for work in (ints, text, table, tuples, churns, objects):
    work()
