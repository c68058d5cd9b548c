"""A free-threaded interpreter is refused in clear words, and its program runs on unharmed.

None is at hand on most machines: an interpreter that says of itself that it is one (a word of `_Py_DebugOffsets`, which
nothing else reads) stands in for it. RSCALENE_FREE_THREADED names a real one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from workload import WORK

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAM = (
    WORK
    + """
work()
threads = [threading.Thread(target=work, args=(0.05,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
kept = [bytes(600) for _ in range(100_000)]
if os.fork() == 0:
    work()
    os._exit(3)
print(os.waitstatus_to_exitcode(os.wait()[1]), len(kept))
code = "import sys; print(len([bytes(100) for _ in range(10_000)])); sys.exit(5)"
print(subprocess.run([sys.executable, "-c", code], stdout=-1).returncode)
sys.exit(int(sys.argv[1]))
"""
)


def says_free_threaded(folder: Path) -> tuple[Path, dict[str, str]]:
    """Copy of this interpreter that says it has no GIL, and the variables that it needs."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    cookie = b"xdebugpy" + sys.hexversion.to_bytes(8, "little") + bytes(8)
    home = Path(sys.base_prefix) / "bin"
    for path in map(Path, sorted(mapped)):
        if "python" not in path.name or cookie not in (bytes_ := path.read_bytes()):
            continue
        assert bytes_.count(cookie) == 1
        changed = bytes_.replace(cookie, cookie[:-8] + (1).to_bytes(8, "little"))
        program = folder / "free" / "bin" / "python"
        program.parent.mkdir(parents=True)
        (folder / "free" / "pyvenv.cfg").write_text(f"home = {home}\n")
        if ".so" not in path.name:
            program.write_bytes(changed)
            program.chmod(0o755)
            return program, {}
        (folder / "free" / path.name).write_bytes(changed)
        shutil.copy(os.path.realpath(sys.executable), program)
        return program, {"LD_LIBRARY_PATH": str(folder / "free")}
    pytest.fail("no file of this interpreter holds its table of offsets")


@pytest.fixture
def free_threaded(tmp_path: Path, clean_env: dict[str, str]) -> Path:
    """Interpreter without the GIL, real or so it says."""
    real = os.environ.get("RSCALENE_FREE_THREADED")
    if real:
        return Path(real)
    program, variables = says_free_threaded(tmp_path)
    clean_env.update(variables)
    return program


if sys.version_info >= (3, 13) or "RSCALENE_FREE_THREADED" in os.environ:

    @pytest.mark.parametrize("flags", [[], ["--cpu-only"], ["--memory", "exact"]], ids=["default", "cpu", "exact"])
    @pytest.mark.parametrize("code", [0, 7])
    def test_a_free_threaded_interpreter_is_refused_and_its_program_unharmed(
        rscalene: Run, clean_env: dict[str, str], tmp_path: Path, free_threaded: Path, flags: list[str], code: int
    ) -> None:
        (tmp_path / "app.py").write_text(PROGRAM)
        # What free-threaded builds allocate with.
        clean_env["PYTHONMALLOC"] = "mimalloc"
        words = ["app.py", str(code)]
        options = {"cwd": tmp_path, "env": clean_env, "capture_output": True, "text": True}
        plain = subprocess.run([free_threaded, *words], check=False, **options)  # type: ignore[call-overload]
        assert plain.returncode == code, plain.stderr
        ours = rscalene("run", "--python", free_threaded, *flags, "-o", "out.json", *words)
        assert ours.stdout == plain.stdout
        assert ours.returncode == (code or 4)
        assert "no line was profiled" in ours.stderr
        assert "without the GIL (free-threaded)" in ours.stderr
        assert "\nhint: " in ours.stderr
        profile = json.loads((tmp_path / "out.json").read_text())
        assert profile["target"]["free_threaded"]
        assert profile["files"] == []
        totals = profile["totals"]
        # Nobody knows what of it was Python.
        for time in [totals, totals["outside_scope"], *profile["processes"], *profile["threads"]]:
            assert time["python_s"] is None or time["python_s"] == 0 == time.get("user_s", 0)
            assert time["native_s"] is None or time["native_s"] == 0 == time.get("user_s", 0)
        # It waits for its children: that is seen from outside where the layout is known, else it is not known.
        assert totals["wait_s"] is None or totals["wait_s"] > 0.1
        assert totals["python_s"] is totals["native_s"] is None
        assert totals["user_s"] + totals["system_s"] > 0.4
        assert len(profile["processes"]) == 3
        assert sorted(process["exit"]["code"] for process in profile["processes"]) == sorted([code, 3, 5])
