"""The functions that the preloaded library takes the place of are those of its tables, and no others."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
import rscalene

LIBRARY = Path(rscalene.__file__).parent / "librscalene_shim.so"
MEMORY = Path(__file__).parent.parent / "shim" / "src" / "memory"

OTHERS = {
    "mapped memory": "mmap mmap64 munmap mremap mprotect",
    "copies": "memcpy memmove __memcpy_chk __memmove_chk",
    "C23's names of free": "free_sized free_aligned_sized",
    "signals": "sigaction signal signalfd sigprocmask pthread_sigmask sigtimedwait sigwait sigwaitinfo",
    "programs": "execv execve execvp execvpe fexecve popen posix_spawn posix_spawnp system",
    "ends and threads": "_exit _Exit pthread_create",
    "filters": "prctl syscall",
    "for the extension module": "rscalene_exact rscalene_tap",
    "the bounds of a section, by the linker": "__start_rscalene_guarded __stop_rscalene_guarded",
}
"""The exported functions beside the malloc family."""


def exported(library: Path) -> set[str]:
    """The defined dynamic symbols of a 64-bit little-endian ELF file."""
    data = library.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + at * size) for at in range(count)]
    names = set()
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind != 11:  # SHT_DYNSYM
            continue
        strings = sections[link][4]
        for at in range(offset, offset + length, entry):
            name, _, _, section = struct.unpack_from("<IBBH", data, at)
            if section:
                end = data.index(0, strings + name)
                names.add(data[strings + name : end].decode())
    return names


def rows(file: str, pattern: str) -> set[str]:
    """The names of the functions in a table of the source."""
    found = set(re.findall(pattern, (MEMORY / file).read_text(), re.MULTILINE))
    assert found
    return found


HOOKED = ("preload/libc.rs", r"^    [A-Z_]+ = (\w+)\(")


def test_the_library_exports_its_tables_and_nothing_else() -> None:
    names = {name for name in exported(LIBRARY) if not re.match("rscalene_Z", name)}
    assert names == rows(*HOOKED) | {name for family in OTHERS.values() for name in family.split()}


@pytest.mark.parametrize(("family", "truth"), [("Malloc", None), ("Mmap", OTHERS["mapped memory"])])
def test_each_hook_has_a_stand_in_for_programs_without_the_preload(family: str, truth: str | None) -> None:
    stand_ins = rows("tables/libc.rs", rf"^    [A-Z0-9_]+ = {family}, (\w+);")
    assert stand_ins == (rows(*HOOKED) if truth is None else set(truth.split()))


def test_cxx_operators_are_the_same_in_both_libraries() -> None:
    cxx = LIBRARY.with_name("librscalene_shim_cxx.so")
    targets = {name.removeprefix("rscalene") for name in exported(LIBRARY) if name.startswith("rscalene_Z")}
    assert targets
    assert exported(cxx) == targets | {"rscalene_cxx_look_up"}
