"""jemalloc, mimalloc and tcmalloc preloaded before `rscalene run`: `make test-allocators` (not part of `make test`).

The libraries are Debian's, fetched and unpacked by `tests/install-allocators`. Each must go on serving the program, its
threads and its children, and be named in the report; what it asks for counts on its lines, to the byte in exact
mode.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accuracy.test_native import BLOCKS, beyond_a_thousandth, differences, program, truth_of
from compiled import compiled
from workload import dropped

pytest_plugins = ("accuracy.conftest",)
UNPACKED = Path(__file__).parents[1] / ".build" / "allocators" / "usr" / "lib"
LIBRARIES = {"jemalloc": "libjemalloc.so.2", "mimalloc": "libmimalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}

SERVED = """
import ctypes, os, subprocess, sys, threading
name = os.environ["ALLOCATOR"]
loaded = lambda: name in open("/proc/self/maps").read()
libc = ctypes.CDLL(None)
for function in (libc.malloc, libc.realloc, libc.calloc):
    function.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.calloc.argtypes = (ctypes.c_size_t,), (ctypes.c_size_t, ctypes.c_size_t)
libc.realloc.argtypes, libc.free.argtypes = (ctypes.c_void_p, ctypes.c_size_t), (ctypes.c_void_p,)
libc.malloc_usable_size.argtypes = (ctypes.c_void_p,)
def work(turns):
    kept = []
    for turn in range(turns):
        kept.append([bytes(size) for size in range(0, 3000, 7)])
        block = libc.realloc(libc.malloc(1000 + turn), 100_000 + turn)
        ctypes.memset(block, 1, 100_000)
        libc.free(block)
        libc.free(libc.calloc(3, 777))
        if turn % 3 == 0:
            kept.clear()
if len(sys.argv) == 1:
    threads = [threading.Thread(target=work, args=(60,)) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print([libc.malloc_usable_size(libc.malloc(size)) for size in (1, 24, 100, 1000, 100_000, 5_000_000)])
    child = os.fork()
    if child == 0:
        work(30)
        print("forked", loaded(), flush=True)
        os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    subprocess.run([sys.executable, __file__, "child"], check=True)
    try:
        bytearray(1 << 50)
    except MemoryError:
        print("MemoryError")
work(60)
print(loaded(), flush=True)
"""


@pytest.fixture(params=LIBRARIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def library(name: str) -> Path:
    (found,) = UNPACKED.glob(f"*/{LIBRARIES[name]}")
    return found


@pytest.fixture
def preloaded(clean_env: dict[str, str], library: Path) -> dict[str, str]:
    return {**clean_env, "LD_PRELOAD": str(library), "ALLOCATOR": library.name.split(".")[0]}


def test_it_goes_on_serving_the_program_its_threads_and_children(
    alike: Callable[..., dict[str, Any]], preloaded: dict[str, str], name: str
) -> None:
    profile = alike(SERVED, env=preloaded)
    assert name in profile["target"]["allocator"]
    assert len(profile["processes"]) == 3
    assert dropped(profile) == []


def test_it_goes_on_serving_a_program_that_puts_it_before_us(
    alike: Callable[..., dict[str, Any]], clean_env: dict[str, str], library: Path
) -> None:
    """A program that starts itself anew with the allocator first: our hooks lie behind its functions."""
    again = f"""
import os, sys
if "ALLOCATOR" not in os.environ:
    first = ":".join([{str(library)!r}, *filter(None, [os.environ.get("LD_PRELOAD")])])
    more = {{"LD_PRELOAD": first, "ALLOCATOR": {library.name.split(".")[0]!r}}}
    os.execve(sys.executable, [sys.executable, *sys.argv], {{**os.environ, **more}})
"""
    alike(again + SERVED, env=clean_env)


def test_blocks_count_as_they_do_without_it(measure: Any, preloaded: dict[str, str]) -> None:
    native = compiled(Path(__file__).parent / "accuracy" / "programs" / "native.c")
    # What `realloc` to no bytes gives is each allocator's own affair.
    ways = [way for way in BLOCKS if way != "realloc_zero"]
    run = measure(program(native, [(way, way, 300_007, 3) for way in ways]), env=preloaded)
    assert not [each for way in ways if (each := beyond_a_thousandth(run, way, truth_of(BLOCKS[way], 300_007, 3)))]
    run = measure(program(native, [(way, way, 613, 23) for way in ways]), options=("--memory", "exact"), env=preloaded)
    assert not [each for way in ways if (each := differences(run, way, truth_of(BLOCKS[way], 613, 23)))]
