"""asyncio tasks with known work."""

import asyncio
import json
import sys
import time

SPENT = {"one": 0, "three": 0}


async def one(until):
    """A unit of work between two awaits."""
    x = 1
    while time.process_time() < until:
        before = time.thread_time_ns()
        for i in range(2000):
            x = (x * 31 + i) % 65_537  # at: one
        SPENT["one"] += time.thread_time_ns() - before
        await asyncio.sleep(0)


async def three(until):
    """Three units."""
    x = 1
    while time.process_time() < until:
        before = time.thread_time_ns()
        for i in range(6000):
            x = (x * 31 + i) % 65_537  # at: three
        SPENT["three"] += time.thread_time_ns() - before
        await asyncio.sleep(0)


async def idle(until):
    """Waits all along."""
    while time.process_time() < until:
        await asyncio.sleep(0.02)  # at: idle


async def main(until):
    """All at once."""
    await asyncio.gather(one(until), three(until), idle(until))


asyncio.run(main(time.process_time() + float(sys.argv[1])))
print(json.dumps(SPENT))
