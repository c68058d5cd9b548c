"""Serve requests: a cache that never forgets leaks, and a batch in the middle makes the memory peak."""

import time

CACHE: dict[int, list[str | bytearray]] = {}


def parse(number: int) -> dict[str, str]:
    return {"id": str(number), "body": "x" * 1_000}


def handle(number: int) -> int:
    request = parse(number)
    CACHE[number] = [request["body"] + str(number), bytearray(4_000)]
    return len(request["body"])


def batch(rows: int) -> int:
    table = [bytearray(1_000_000) for _ in range(rows)]
    copy = [bytes(row[: len(row) // 2]) for row in table]
    return sum(map(len, copy))


def serve(requests: int) -> int:
    total = 0
    for number in range(requests):
        total += handle(number)
        if number == requests // 2:
            total += batch(60)
        if number % 100 == 0:
            time.sleep(0.02)
    return total


print(serve(15_000))
