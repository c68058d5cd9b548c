"""Libraries, however they are loaded and whatever they are written in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from compiled import compiled

from .test_liveness import hold

LOADED = Path(__file__).parent / "programs" / "loaded.c"


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


def test_the_heap_that_a_program_moves_by_itself_is_resident_and_nobodys(measure: Any) -> None:
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
