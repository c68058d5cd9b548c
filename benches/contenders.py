"""The profilers that are measured, ours among them: how each is installed and how each runs a program.

Every one gets an environment of its own under ``.build/contenders``, from PyPI, with the workloads' requirements. One
that cannot be installed for an interpreter is reported as missing.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
WORKLOADS = Path(__file__).resolve().parent / "workloads"
REQUIREMENTS = ("docutils==0.18.1", "mpmath==1.2.1", "sympy==1.8", "setuptools==80.9.0; python_version >= '3.12'")
"""What pyperformance's docutils and sympy workloads ask for; this sympy needs distutils, which 3.12 no longer has."""

Words = Sequence[str]
Command = Callable[[Path, Path, Words], Words]


@dataclass(frozen=True)
class Contender:
    """A way to run a program under a profiler.

    ``command`` is called with the environment's ``bin`` folder, the file to write the profile to, and the program with
    its arguments; it returns the whole command line.
    """

    name: str
    package: str | None
    command: Command
    reports: tuple[str, ...] = ()
    """What its output says: ``cpu``, ``kind``, ``memory`` (allocated), ``peak``, ``kept``, ``copy`` by line; and
    ``functions``."""
    above: tuple[int, int] = (3, 11)
    """The least Python version."""


def _python(*options: str) -> Command:
    return lambda binary, out, program: [str(binary / "python"), *(o.format(out=out) for o in options), *program]


def _tool(name: str, *options: str) -> Command:
    return lambda binary, out, program: [str(binary / name), *(o.format(out=out) for o in options), *program]


def _py_spy(binary: Path, out: Path, program: Words) -> Words:
    record = ["record", "--subprocesses", "--format", "raw", "--output", str(out), "--rate", "100", "--"]
    return [str(binary / "py-spy"), *record, str(binary / "python"), *program]


def _rscalene(*options: str) -> Command:
    return _tool("rscalene", "run", "-q", *options, "-o", "{out}.json")


def _memray(*options: str) -> Command:
    return _tool("memray", "run", "-q", "-f", *options, "-o", "{out}")


def _sampling(binary: Path, out: Path, program: Words) -> Words:
    run = ["-m", "profiling.sampling", "run", "-a", "--mode", "cpu", "--subprocesses", "--collapsed", "-o", str(out)]
    return [str(binary / "python"), *run, *program]


def _kernprof(binary: Path, out: Path, program: Words) -> Words:
    return [str(binary / "kernprof"), "-l", "-q", "-p", program[0], "-o", str(out), *program]


def _memory_profiler(binary: Path, out: Path, program: Words) -> Words:
    return [str(binary / "python"), str(WORKLOADS / "decorated.py"), str(out), *program]


def _scalene(*options: str) -> Command:
    def command(binary: Path, out: Path, program: Words) -> Words:
        script, *words = program
        run = ["-m", "scalene", "run", "--outfile", f"{out}.json", *options]
        return [str(binary / "python"), *run, script, *(["---", *words] if words else [])]

    return command


PLAIN = Contender("plain python", None, _python())
TIME = ("cpu", "kind", "functions")
CONTENDERS = [
    Contender("rscalene --cpu-only", "rscalene", _rscalene("--cpu-only"), TIME),
    Contender("rscalene", "rscalene", _rscalene(), (*TIME, "memory", "peak", "kept", "copy")),
    Contender("rscalene --memory exact", "rscalene", _rscalene("--memory", "exact"), ("memory", "peak", "kept")),
    Contender("scalene --cpu-only", "scalene", _scalene("--cpu-only"), TIME),
    Contender("scalene", "scalene", _scalene(), (*TIME, "memory", "peak", "copy")),
    Contender("memray", "memray", _memray(), ("peak", "kept")),
    Contender("memray --trace-python-allocators", "memray", _memray("--trace-python-allocators"), ("peak", "kept")),
    Contender("fil", "filprofiler", _tool("fil-profile", "-o", "{out}", "--no-browser", "run"), ("peak",)),
    Contender("py-spy", "py-spy", _py_spy, ("cpu", "functions")),
    Contender("pyinstrument", "pyinstrument", _tool("pyinstrument", "-r", "json", "-o", "{out}"), ("functions",)),
    Contender("cProfile", "", _python("-m", "cProfile", "-o", "{out}"), ("functions",)),
    Contender("line_profiler (every function)", "line_profiler", _kernprof, ("cpu", "functions")),
    Contender("memory_profiler (every function)", "memory_profiler", _memory_profiler, ("kept",)),
    Contender("tracemalloc", "", _python("-X", "tracemalloc")),
    Contender("profiling.sampling -a --mode cpu", "", _sampling, ("cpu", "functions"), (3, 15)),
]


class Missing(Exception):
    """A profiler that is not to be had for this interpreter; its text says why."""


def environment(contender: Contender, python: str) -> Path:
    """Return the ``bin`` folder of the contender's environment, making it at first use.

    :raises Missing: when its package cannot be installed.
    """
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if tuple(map(int, version.split("."))) < contender.above:
        raise Missing(f"needs Python {'.'.join(map(str, contender.above))}")
    folder = BUILD / "contenders" / f"{contender.package or 'python'}-{version}"
    binary = folder / "bin"
    packages = [*REQUIREMENTS, *([contender.package] if contender.package not in (None, "", "rscalene") else [])]
    if not (folder / "made").exists():
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        done = subprocess.run(
            [binary / "python", "-m", "pip", "install", "--quiet", *packages], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Missing(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed")
        (folder / "made").touch()
    if contender.package == "rscalene":
        wheels = sorted((BUILD / "dist").glob("*.whl"), key=os.path.getmtime)
        if not wheels:
            raise Missing("no wheel in .build/dist\nhint: make build")
        install = [binary / "python", "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", wheels[-1]]
        subprocess.run(install, check=True)
    return binary


def version(contender: Contender, binary: Path) -> str:
    """Return the contender's version as its package says."""
    package = contender.package
    code = "import platform; print(platform.python_version())"
    if package:
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([binary / "python", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def write(path: Path, document: dict[str, Any]) -> None:
    """Write figures as JSON, rounded to four digits behind the point: more is noise."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rounded(inner) for key, inner in value.items()}
        return round(value, 4) if isinstance(value, float) else value

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded(document), indent=1) + "\n")


def machine() -> dict[str, str | int]:
    """Return what the figures depend on: processor, cores, kernel."""
    model = next(
        (
            row.split(":", 1)[1].strip()
            for row in Path("/proc/cpuinfo").read_text().splitlines()
            if row.startswith("model name")
        ),
        "unknown",
    )
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()}",
        "date": datetime.date.today().isoformat(),
    }


def unpacked(package: str) -> Path:
    """Return the folder with the unpacked wheel of ``package`` from PyPI: workloads are taken from there."""
    folder = BUILD / "contenders" / f"{package}-unpacked"
    if not folder.exists():
        # The interpreter that runs this may have no pip of its own.
        binary = environment(PLAIN, sys.executable)
        target = ["--target", folder, "--no-deps", "--quiet"]
        subprocess.run([binary / "python", "-m", "pip", "install", *target, package], check=True)
    return folder
