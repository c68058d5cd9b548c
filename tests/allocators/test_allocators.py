"""jemalloc, mimalloc and tcmalloc preloaded before `rscalene run`: `make test-allocators`.

The libraries are Debian's, fetched and unpacked by `tests/install-allocators`. Each must go on serving the program, its
threads and its children, and be named in the report; what it asks for counts on its lines, to the byte in exact
mode, whether it asks C's functions or C++'s operators, which all of them bring. So does a small library of our own
(needs a C++ compiler).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accuracy.test_native import BLOCKS, Way, beyond_a_thousandth, differences, gone, kept, program, truth_of
from compiled import compiled
from workload import dropped

pytest_plugins = ("accuracy.conftest",)
UNPACKED = Path(__file__).parents[2] / ".build" / "allocators" / "usr" / "lib"
LIBRARIES = {"jemalloc": "libjemalloc.so.2", "mimalloc": "libmimalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}

PROGRAMS = Path(__file__).parents[1] / "accuracy" / "programs"

NEWS = {
    **{
        f"new{array}{aligned}{nothrow}": kept()
        for array in ("", "_array")
        for aligned in ("", "_aligned")
        for nothrow in ("", "_nothrow")
    },
    **{
        f"delete{array}{how}": gone()
        for array in ("", "_array")
        for how in ("", "_sized", "_nothrow", "_aligned", "_sized_aligned", "_aligned_nothrow")
    },
    "delete_null": kept(),
    "vector": Way(lambda size: 4 * size, lambda size: 4 * size, 2),
}
"""Ways to blocks by C++'s operators, of the size and number that the caller says."""

THROWS = {"refused": kept(), "handled": Way(lambda size: 2 * size, lambda size: size, 2)}
"""Ways that meet `std::bad_alloc`."""

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
    native = compiled(PROGRAMS / "native.c")
    # What `realloc` to no bytes gives is each allocator's own affair.
    ways = [way for way in BLOCKS if way != "realloc_zero"]
    run = measure(program(native, [(way, way, 300_007, 3) for way in ways]), env=preloaded)
    assert not [each for way in ways if (each := beyond_a_thousandth(run, way, truth_of(BLOCKS[way], 300_007, 3)))]
    run = measure(program(native, [(way, way, 613, 23) for way in ways]), options=("--memory", "exact"), env=preloaded)
    assert not [each for way in ways if (each := differences(run, way, truth_of(BLOCKS[way], 613, 23)))]


@pytest.fixture(scope="session")
def news() -> Path:
    return compiled(PROGRAMS / "news.cpp")


@pytest.fixture(params=[*LIBRARIES, "own_new"])
def operators(request: pytest.FixtureRequest, clean_env: dict[str, str]) -> tuple[dict[str, str], dict[str, Way]]:
    """An allocator preloaded that brings C++'s operators, and the ways that it serves."""
    if request.param == "own_new":
        library = compiled(PROGRAMS / "own_new.cpp")
    else:
        (library,) = UNPACKED.glob(f"*/{LIBRARIES[request.param]}")
    # Debian's mimalloc is built from C: where there is no memory it ends the process.
    ways = NEWS if request.param == "mimalloc" else NEWS | THROWS
    return {**clean_env, "LD_PRELOAD": str(library)}, ways


Operators = tuple[dict[str, str], dict[str, Way]]


def test_operators_count_to_the_byte_and_exceptions_pass(measure: Any, news: Path, operators: Operators) -> None:
    env, ways = operators
    run = measure(program(news, [(way, way, 613, 23) for way in ways]), options=("--memory", "exact"), env=env)
    assert not [each for way in ways if (each := differences(run, way, truth_of(ways[way], 613, 23)))]


def test_large_blocks_of_operators_count_to_a_thousandth(measure: Any, news: Path, operators: Operators) -> None:
    env, ways = operators
    run = measure(program(news, [(way, way, 300_007, 3) for way in ways]), env=env)
    assert not [each for way in ways if (each := beyond_a_thousandth(run, way, truth_of(ways[way], 300_007, 3)))]


def test_small_blocks_of_operators_count_within_their_printed_error_and_their_ends_are_seen(
    measure: Any, news: Path, operators: Operators
) -> None:
    size, count = 613, 40_000
    env, ways = operators
    text = program(news, [(way, way, size, count) for way in ways])
    run = measure(text.replace("  # at: ", "; lib.free_kept(0)  # at: "), env=env)
    pulls = {}
    for way in ways:
        line, truth = run.line(way), truth_of(ways[way], size, count)["alloc_bytes"]
        pulls[way] = (line.bytes("alloc_bytes") - truth) / line.bytes("alloc_bytes_se")
        assert line.bytes("live_bytes") <= 3 * line.bytes("live_bytes_se") + 100, (way, line)
    beyond = sorted((abs(pull), way) for way, pull in pulls.items() if abs(pull) > 3)
    # One estimate in 370 is further away than three of its errors.
    assert len(beyond) <= 1, pulls
    assert not [each for each in beyond if each[0] > 5], pulls


def test_operators_of_a_child_without_the_allocator_are_libcs(
    measure: Any, news: Path, clean_env: dict[str, str]
) -> None:
    """Its libstdc++ is loaded late and for one library alone: nobody behind ours has an operator."""
    without = """
import os, subprocess, sys
if len(sys.argv) == 1:
    ours, cxx, theirs = os.environ["LD_PRELOAD"].split(":")
    env = {**os.environ, "LD_PRELOAD": f"{ours}:{cxx}"}
    sys.exit(subprocess.run([sys.executable, __file__, "child"], env=env).returncode)
"""
    env = {**clean_env, "LD_PRELOAD": str(compiled(PROGRAMS / "own_new.cpp"))}
    text = without + program(news, [(way, way, 613, 23) for way in NEWS])
    run = measure(text, options=("--memory", "exact"), env=env)
    # The child ended before its parent: nothing of it is live at the end.
    truth = {way: {**truth_of(NEWS[way], 613, 23), "live_bytes": 0} for way in NEWS}
    assert not [each for way in NEWS if (each := differences(run, way, truth[way]))]
