"""The memory of requests: net and peak of each line and of the whole, to the byte."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from typing import Any

import rscalene


def test_the_bytes_of_lines_are_exact() -> None:
    def use() -> bytearray:
        kept = bytearray(10_000_000)  # kept
        short = bytearray(3_000_000)  # short
        del short  # freed
        rows = [bytes(100) for _ in range(1000)]  # comprehension
        return kept if rows else bytearray()  # result

    use()
    with rscalene.request("bytes", memory=True) as block:
        answer = use()  # all
    result = block.result()
    rows = {row.source.partition("  # ")[2]: row for row in result.lines}
    size = sys.getsizeof(b"") + 100
    large, small = sys.getsizeof(bytearray(10_000_000)), sys.getsizeof(bytearray(3_000_000))
    nets = {name: rows[name].net_bytes for name in ("kept", "short", "freed", "result")}
    assert (nets["kept"], nets["short"]) == (large, small)
    assert nets["freed"] == -small
    assert rows["kept"].peak_bytes == large
    comprehension = rows["comprehension"].net_bytes
    assert comprehension is not None
    assert 1000 * size <= comprehension <= 1000 * size + 16_000
    whole = rows["all"]
    assert whole.net_bytes is not None
    assert abs(whole.net_bytes - large) < 2_000
    assert whole.peak_bytes is not None
    assert 0 <= whole.peak_bytes - (large + small) < 2_000
    memory = json.loads(result.json())["memory"]
    # The interpreter's own bytes count too, for example of frames that it makes for events.
    assert abs(memory["net"] - large) < 16_000
    assert abs(memory["peak"] - (large + small)) < 16_000
    assert (large + small) + 1000 * size <= memory["alloc"] < 13_300_000
    assert len(answer) == 10_000_000


def test_requests_at_once_have_bytes_of_their_own() -> None:
    found: dict[int, Any] = {}

    def one(size: int) -> None:
        with rscalene.request("one", memory=True) as block:
            for _ in range(100):
                made = bytearray(size)  # made
                made = bytearray()
                time.sleep(0.0001)
        found[size] = (block.result(), made)

    threads = [threading.Thread(target=one, args=(size,)) for size in (100_000, 5_000_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for size, (result, _) in found.items():
        row = next(row for row in result.lines if row.source.endswith("# made"))
        assert row.peak_bytes is not None
        assert 0 <= row.peak_bytes - size <= 200
        assert result.memory is not None
        assert abs(result.memory[2] - size) < 4_000
        assert 100 * size <= result.memory[0] < 100 * size + 60_000


def test_tasks_at_once_have_lines_of_their_own_and_no_sum() -> None:
    async def one(size: int) -> Any:
        async with rscalene.request("one", memory=True) as block:
            for _ in range(50):
                made = bytearray(size)  # task
                await asyncio.sleep(0)
                del made  # gone
        return block.result()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(one(size) for size in (100_000, 2_000_000)))

    for size, result in zip((100_000, 2_000_000), asyncio.run(all_of_them()), strict=True):
        rows = {row.source.partition("  # ")[2]: row for row in result.lines}
        assert 0 <= rows["task"].net_bytes - 50 * size <= 50 * 100
        assert rows["task"].peak_bytes - size < 200
        assert result.memory is None
        assert json.loads(result.json())["memory"] is None


def test_a_request_without_memory_knows_no_bytes() -> None:
    with rscalene.request("time") as block:
        len([1])
    assert block.result().memory is None
    assert {row.net_bytes for row in block.result().lines} == {None}
