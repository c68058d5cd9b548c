"""asyncio: a producer, workers that parse, and a server that answers slowly."""

import asyncio
import json

DOCUMENT = json.dumps([{"id": n, "name": f"name {n}", "tags": ["a", "b", "c"]} for n in range(2_000)])


async def fetch(number):
    await asyncio.sleep(0.05)
    return DOCUMENT


async def handle(queue, kept):
    while (number := await queue.get()) is not None:
        text = await fetch(number)
        rows = json.loads(text)  # slowest, peak
        if number % 8 == 0:
            kept.append(rows)


async def main():
    queue, kept = asyncio.Queue(), []
    workers = [asyncio.create_task(handle(queue, kept)) for _ in range(10)]
    for number in range(300):
        await queue.put(number)
    for _ in workers:
        await queue.put(None)
    await asyncio.gather(*workers)
    print(len(kept))


asyncio.run(main())
