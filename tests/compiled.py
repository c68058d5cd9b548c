"""C and C++ code of the tests, compiled under .build/ where there is a compiler."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".build" / "native" / os.uname().machine


def compiled(source: Path, *, program: bool = False, needs: Path | None = None) -> Path:
    """A library (or a program) from one C or C++ file; one that it `needs` is looked for beside it.

    Other root folders of this machine, which may have no compiler, use the file that was made in the first.
    """
    built = FOLDER / (source.stem if program else f"lib{source.stem}.so")
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        FOLDER.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        kind = ["-O1"] if program else ["-O0", "-fPIC", "-shared", "-fexceptions"]
        compiler = ["c++", "-std=c++17"] if source.suffix == ".cpp" else ["cc", "-std=gnu17"]
        command = [*compiler, "-fno-builtin", "-pthread", "-w", *kind, "-o", str(fresh), str(source)]
        if needs:
            command += [f"-L{needs.parent}", f"-l:{needs.name}", "-Wl,--enable-new-dtags,-rpath,$ORIGIN"]
        subprocess.run(command, check=True)
        fresh.rename(built)
    return built
