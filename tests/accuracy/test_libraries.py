"""Libraries, however they are loaded and whatever they are written in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from compiled import compiled

from .test_liveness import hold

PROGRAMS = Path(__file__).parent / "programs"
LOADED = PROGRAMS / "loaded.c"
UNUSUAL = PROGRAMS / "unusual.c"


@pytest.fixture
def copies(tmp_path: Path) -> list[str]:
    """The library under several names: each is loaded by itself."""
    places = [tmp_path / f"lib{name}.so" for name in "abcd"]
    for place in places:
        shutil.copy(compiled(LOADED), place)
    return list(map(str, places))


def test_a_library_is_seen_however_it_is_loaded(measure: Any, copies: list[str]) -> None:
    a, b, c, _ = copies
    hold(
        measure,
        f"""
import ctypes, os
local = ctypes.CDLL({a!r}, os.RTLD_NOW | os.RTLD_LOCAL)  # expect: alloc=2_000_003 live=2_000_003
local.keep(3_000_017)  # expect: alloc=3_000_017 live=3_000_017
common = ctypes.CDLL({b!r}, os.RTLD_LAZY | os.RTLD_GLOBAL)  # expect: alloc=2_000_003 live=2_000_003
common.keep(5_000_011)  # expect: alloc=5_000_011 live=5_000_011
gone = ctypes.CDLL({c!r})  # expect: alloc=2_000_003 live=0
gone.keep(7_000_003)  # expect: alloc=7_000_003 live=0
import _ctypes
_ctypes.dlclose(gone._handle)  # expect: free=9_000_006
""",
    )


def test_a_library_that_binds_to_libc_itself_is_not_seen_and_not_harmed(measure: Any, copies: list[str]) -> None:
    hold(
        measure,
        f"""
import ctypes, os
deep = ctypes.CDLL({copies[3]!r}, os.RTLD_NOW | os.RTLD_DEEPBIND)  # expect: alloc=0 live=0
deep.keep(3_000_017)  # expect: alloc=0 live=0
kept = bytearray(4_000_037)  # expect: alloc=4_000_037 live=4_000_037
import _ctypes
_ctypes.dlclose(deep._handle)  # expect: free=0
""",
    )


def test_a_library_is_seen_that_another_one_brings_from_beside_it(measure: Any, tmp_path: Path) -> None:
    outer, inner = tmp_path / "libouter.so", tmp_path / "libloaded.so"
    shutil.copy(compiled(LOADED), inner)
    shutil.copy(compiled(PROGRAMS / "outer.c", needs=compiled(LOADED)), outer)
    hold(
        measure,
        f"""
import ctypes
both = ctypes.CDLL({str(outer)!r})  # expect: alloc=2_000_003 live=2_000_003
both.keep_for_me(3_000_017)  # expect: alloc=3_000_017 live=3_000_017
""",
    )


def test_allocations_of_the_loader_for_missing_names_are_harmless(measure: Any) -> None:
    run = hold(
        measure,
        """
import ctypes, json, threading
libc = ctypes.CDLL(None)
libc.dlsym.restype, libc.dlsym.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)
missing = []
def ask():
    missing.extend(libc.dlsym(None, b"no_such_function_%d" % number) for number in range(2_000))
workers = [threading.Thread(target=ask) for _ in range(8)]
for worker in workers: worker.start()
for worker in workers: worker.join()
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
place = libc.malloc(3_000_017)  # expect: alloc=3_000_017 live=3_000_017
print(json.dumps({"missing": missing.count(None)}))
""",
    )
    assert run.truth["missing"] == 16_000


def test_new_and_delete_count_as_what_they_ask_for(measure: Any) -> None:
    hold(
        measure,
        """
import ctypes
cpp = ctypes.CDLL("libstdc++.so.6")
for name in ("_Znwm", "_Znam"):
    getattr(cpp, name).restype, getattr(cpp, name).argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
cpp._ZdlPv.argtypes = cpp._ZdaPv.argtypes = (ctypes.c_void_p,)
one = cpp._Znwm(3_000_017)  # expect: alloc=3_000_017 live=3_000_017
many = cpp._Znam(5_000_011)  # expect: alloc=5_000_011 live=0
cpp._ZdaPv(many)  # expect: free=5_000_011
for _ in range(10): cpp._ZdlPv(cpp._Znwm(1_000_003))  # expect: alloc=10*1_000_003 free=10*1_000_003 live=0
""",
    )


def test_a_growing_string_of_cpp_counts_its_buffers(measure: Any) -> None:
    hold(
        measure,
        """
import ctypes
cpp = ctypes.CDLL("libstdc++.so.6")
STRING = "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE"
append, reserve = getattr(cpp, STRING + "9_M_appendEPKcm"), getattr(cpp, STRING + "7reserveEm")
append.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
reserve.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
piece = b"x" * 1_000_000
text = (ctypes.c_uint64 * 4)()  # an empty string: where its text is, how long it is, and room for a short one
text[0] = ctypes.addressof(text) + 16
reserve(text, 1_000_000)  # expect: alloc=1_000_001 live=0
for _ in range(8): append(text, piece, 1_000_000)  # expect: alloc=14_000_003 free=7_000_003 live=8_000_001
new = cpp._ZnwmRKSt9nothrow_t  # the one that answers null
new.restype, new.argtypes = ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_void_p)
refused = new(1 << 60, None)  # expect: alloc=0
assert refused is None and text[1] == 8_000_000
""",
    )


def test_frames_that_are_left_by_a_jump_or_an_exception_count_what_they_held(measure: Any) -> None:
    run = hold(
        measure,
        f"""
import ctypes, json
unusual = ctypes.CDLL({str(compiled(UNUSUAL))!r})
size, number = ctypes.c_size_t, ctypes.c_int
unusual.jumps.argtypes = unusual.unwinds.argtypes = size, number
unusual.ends.argtypes = size, number, number
jumped = unusual.jumps(300_007, 40)  # expect: alloc=40*300_007 free=20*300_007 live=20*300_007
thrown = unusual.unwinds(300_007, 20)  # expect: alloc=200*300_007 free=200*300_007 live=0
left = unusual.ends(300_007, 5, 1)
ended = unusual.ends(300_007, 5, 0)
kept = bytearray(5_000_011)  # expect: alloc=5_000_011 live=5_000_011
print(json.dumps({{"jumped": jumped, "thrown": thrown, "left": left, "ended": ended}}))
""",
    )
    assert run.truth == {"jumped": 40, "thrown": 20, "left": 5, "ended": 5}
    # The threads are of C, so their blocks are no line's, and all of them were freed.
    outside = run.profile["totals"]["outside_scope_memory"]
    assert outside["alloc_bytes"] > 100 * 300_007 > 50 * outside["live_bytes"]


def test_an_allocator_of_a_librarys_own_counts_by_what_it_maps(measure: Any) -> None:
    run = hold(
        measure,
        f"""
import ctypes
unusual = ctypes.CDLL({str(compiled(UNUSUAL))!r})
unusual.take.argtypes = unusual.take_fixed.argtypes = (ctypes.c_size_t,)
unusual.take(5_000_011)  # expect: alloc=32*1024*1024 live=32*1024*1024
unusual.take(5_000_011)  # expect: alloc=0 live=0
unusual.take(30_000_001)  # expect: alloc=32*1024*1024 live=32*1024*1024
unusual.take_fixed(24_000_001)  # expect: alloc=0 live=0
""",
    )
    # What lies in the file's own data is resident and nobody's.
    totals = run.profile["totals"]
    untracked = totals["peak_rss_bytes"] - totals["resident_files_peak_bytes"] - (40_000_012 + 24_000_001)
    assert 0 < untracked < 24_000_000


def test_a_heap_that_a_program_moves_itself_is_resident_and_of_no_line(measure: Any) -> None:
    run = measure(
        """
import ctypes
libc = ctypes.CDLL(None)
libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, (ctypes.c_ssize_t,)
place = libc.sbrk(60_000_256)  # at: moved
ctypes.memset(place, 1, 60_000_256)
"""
    )
    assert run.line("moved").bytes("live_bytes") < 1_000_000
    totals = run.profile["totals"]
    own = totals["peak_rss_bytes"] - totals["resident_files_peak_bytes"]
    assert own - totals["tracked_peak_bytes"] > 55_000_000
