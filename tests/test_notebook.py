"""The notebook extension in a real kernel: what cells show, and what is left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

v4: Any = nbformat.v4

DEFINITIONS = """\
def spin(n):
    total = 0
    for i in range(n):
        total += i * i
    return total

async def later(n):
    import asyncio
    await asyncio.sleep(0.2)
    return spin(n)

def steps(n):
    for i in range(n):
        yield i * i

class Box:
    def keep(self):
        self.block = bytearray(20_000_003)
        return len(self.block)"""


class Kernel:
    """A kernel that runs cells one after the other."""

    def __init__(self, folder: Path) -> None:
        self.notebook = v4.new_notebook()
        self.client = nbclient.NotebookClient(
            self.notebook, timeout=20, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )

    def run(self, source: str, *, fails: bool = False) -> Any:
        """The cell, run; its outputs in it. It must fail if it ``fails``, and must not otherwise."""
        cell = v4.new_code_cell(source)
        self.notebook.cells.append(cell)
        try:
            self.client.execute_cell(cell, len(self.notebook.cells) - 1)
        except nbclient.exceptions.CellExecutionError:
            assert fails, cell.outputs
        else:
            assert not fails, cell.outputs
        return cell


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for all tests of the module, with the extension loaded and some functions defined."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    with kernel.client.setup_kernel():
        kernel.run("%load_ext rscalene")
        kernel.run(DEFINITIONS)
        yield kernel


Run = Callable[..., Any]


@pytest.fixture
def run(kernel: Kernel) -> Run:
    """Run a cell."""
    return kernel.run


def shown(cell: Any, mimetype: str = "text/plain") -> Any:
    """What a magic displayed."""
    (data,) = (output.data for output in cell.outputs if output.output_type == "display_data")
    return data[mimetype]


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def failure(cell: Any) -> str:
    return "".join(f"{output.ename}: {output.evalue}" for output in cell.outputs if output.output_type == "error")


def lines(cell: Any) -> dict[str, Any]:
    """The lines of a sampled profile by place."""
    profile = shown(cell, "application/vnd.rscalene.v1+json")
    return {f"{file['path']}:{line['line']}": line for file in profile["files"] for line in file["lines"]}


def test_a_cell_is_profiled_with_the_cells_it_calls(run: Run) -> None:
    cell = run("%%rscalene\nimport time\nx = spin(2_000_000)\ntime.sleep(0.2)\nx")
    (value,) = (output.data["text/plain"] for output in cell.outputs if output.output_type == "execute_result")
    assert value == str(sum(i * i for i in range(2_000_000)))
    name = f"In [{cell.execution_count}]"
    found = lines(cell)
    assert found["In [2]:4"]["source"] == "        total += i * i"
    assert found["In [2]:4"]["python_s"] > 0.01
    assert found[f"{name}:4"]["wait_s"] == pytest.approx(0.2, abs=0.1)
    text = shown(cell)
    assert f"── {name} ──" in text
    assert "│ def spin(n):" in text
    assert re.search(r"\n +1 .*│ %%rscalene\n", text), text
    assert shown(cell, "application/vnd.rscalene.v1+json")["target"]["command"] == [name]


def test_every_form_is_stored_and_none_is_active(run: Run) -> None:
    cell = run("%%rscalene\nspin(500_000)")
    html = shown(cell, "text/html")
    assert "In [2]:4" in html
    for active in ("<script", "<iframe", "http", "localhost", "onclick"):
        assert active not in html
    assert shown(cell, "text/markdown").count("`In [2]:4`") == 1
    nbformat.validate(v4.new_notebook(cells=[cell]))


def test_a_cell_may_await(run: Run) -> None:
    cell = run("%%rscalene\ny = await later(1_000_000)\nprint('done')")
    assert printed(cell) == "done\n"
    found = lines(cell)
    assert found["In [2]:9"]["wait_s"] == pytest.approx(0.2, abs=0.1)
    assert found["In [2]:4"]["python_s"] > 0


def test_memory_is_measured_by_line(run: Run) -> None:
    cell = run("%%rscalene\nbox = Box()\nbox.keep()\nrest = [bytearray(1_000_003) for _ in range(30)]")
    found = lines(cell)
    assert found["In [2]:18"]["alloc_bytes"] == pytest.approx(20_000_003, rel=0.02)
    assert found[f"In [{cell.execution_count}]:4"]["live_bytes"] == pytest.approx(30_000_090, rel=0.1)
    quiet = run("%%rscalene --columns time\nrest.clear()\nspin(100_000)")
    assert shown(quiet, "application/vnd.rscalene.v1+json")["settings"]["memory"]["mode"] == "off"


def test_the_result_is_bound_and_saved(run: Run, kernel: Kernel, tmp_path: Path) -> None:
    run(f"%%rscalene -o found --json {tmp_path}/p.json --top 1\nspin(500_000)")
    assert json.loads((tmp_path / "p.json").read_text())["format"]["name"] == "rscalene-profile"
    cell = run(
        "import rscalene\n"
        f"assert rscalene.load('{tmp_path}/p.json').lines == found.lines\n"
        "assert any(line['file'] == 'In [2]' for line in found.lines)\n"
        "assert 'total += i * i' in found.to_text()\n"
        "found.diff(found)"
    )
    (output,) = cell.outputs
    assert set(output.data) == {"text/plain", "text/html", "text/markdown"}


def test_an_error_in_the_cell_shows_what_was_until_then(run: Run) -> None:
    cell = run("%%rscalene\nspin(500_000)\n1 / 0", fails=True)
    assert "ZeroDivisionError" in failure(cell)
    assert "In [2]:4" in lines(cell)


def test_an_interrupt_shows_what_was_until_then(run: Run, kernel: Kernel) -> None:
    interrupt = "import os, subprocess\nsubprocess.Popen(['sh', '-c', f'sleep 0.5; kill -INT {os.getpid()}'])\n"
    for last in ("while True: pass", "import asyncio\nwhile True: await asyncio.sleep(0.05)"):
        cell = run(f"%%rscalene\n{interrupt}{last}", fails=True)
        assert re.match("KeyboardInterrupt|CancelledError", failure(cell)), cell.outputs
        assert any(line["python_s"] or line["wait_s"] for line in lines(cell).values())
    assert run("spin(3)").outputs[0].data["text/plain"] == "5"


def test_a_statement_is_profiled(run: Run) -> None:
    cell = run("%rscalene a = spin(1_000_000) / 2")
    assert "In [2]:4" in lines(cell)
    assert "%rscalene a = spin(1_000_000) / 2" in shown(cell, "text/html")
    assert run("a > 0").outputs[0].data["text/plain"] == "True"
    assert "%rscalene a = spin(1_000_000) / 2" in shown(run("%rscalene a = spin(1_000_000) / 2"))
    assert "run_line_magic" not in shown(run("%rscalene --top 100 a = spin(1_000_000) / 2"))
    cell = run("r = %rscalene -r spin(1000)\ntype(r).__name__")
    assert cell.outputs[-1].data["text/plain"] == "'Result'"


def test_functions_are_measured_exactly_wherever_they_were_defined(run: Run) -> None:
    cell = run(
        "%%rscalene -f spin -f later -f steps -f Box.keep -f own --precision 3 -o tables --json lines.json\n"
        "def own():\n    return bytearray(3_000_017)\n"
        "spin(100)\nawait later(7)\nlist(steps(5))\nBox().keep()\nkept = own()"
    )
    text = shown(cell)
    assert text.count("Filename: In [2]") == 4
    assert f"Filename: In [{cell.execution_count}]" in text
    hits = {match[1]: int(match[2]) for match in re.finditer(r"^ +(\d+) +\S+ MiB +\S+ MiB +(\d+) ", text, re.M)}
    assert hits["4"] == 107
    assert hits["10"] == 1
    assert hits["14"] == 5
    run(
        "import json\n"
        "record = {function['function']: function for function in json.load(open('lines.json'))['functions']}\n"
        "assert record['own']['lines'][-1]['increment_bytes'] >= 3_000_017, record['own']\n"
        "assert record['Box.keep']['file'] == 'In [2]'\n"
        "assert [function['function'] for function in tables.to_dict()['functions']] == list(record)"
    )


def test_functions_are_put_back(run: Run) -> None:
    run("before = spin.__code__, later, steps, Box.keep.__code__")
    run("%%rscalene -f spin -f later -f steps -f Box\nspin(3)")
    run("assert (spin.__code__, later, steps, Box.keep.__code__) == before")
    run("%%rscalene -f fresh\nasync def fresh(): pass\nawait fresh()")
    run("import inspect\nassert not hasattr(fresh, '__wrapped__')")


def test_a_module_s_functions_are_all_measured(run: Run) -> None:
    run("%%writefile some_module.py\ndef one():\n    return 1\nclass Two:\n    def two(self):\n        return one()")
    text = shown(run("import some_module\n%rscalene -m some_module some_module.Two().two()"))
    assert len(re.findall("Filename: .*some_module.py", text)) == 2


def test_memory_profiler_s_and_line_profiler_s_magics_are_there(run: Run, kernel: Kernel) -> None:
    cell = run("%mprun -f spin -T m.txt spin(50)")
    head = "Line #    Mem usage    Increment  Occurrences   Line Contents"
    assert head in shown(cell)
    assert "saved to text file 'm.txt'" in printed(cell)
    cell = run("p = %lprun -r -f spin -T l.txt -D l.lprof -u 1e-3 spin(50)\ntype(p).__name__")
    assert "Timer unit: 0.001 s" in shown(cell)
    assert "Line #      Hits         Time  Per Hit   % Time  Line Contents" in shown(cell)
    assert cell.outputs[-1].data["text/plain"] == "'LineProfiler'"
    run("import pickle\nassert p.get_stats() == pickle.load(open('l.lprof', 'rb'))")
    run("assert 'spin' in open('l.txt').read()")
    assert head in shown(run("%%mprun -f spin\nspin(50)"))


def test_memit_prints_the_highest_footprint(run: Run) -> None:
    text = printed(run("%memit bytearray(80_000_000)"))
    peak, increment = (float(figure) for figure in re.findall(r"[\d.]+", text))
    assert text == f"peak memory: {peak:.2f} MiB, increment: {increment:.2f} MiB\n"
    assert increment == pytest.approx(76.3, abs=8)
    cell = run("%%memit -o -q -r 2 size = 10_000_000\nkept = bytearray(size)")
    assert cell.outputs[0].data["text/plain"].startswith("<MemitResult : peak memory: ")
    assert run("%memit -c -i 0.01 pass").outputs[0].text.startswith("peak memory: ")
    assert printed(run("%memit -cr 2 pass; print('again')")).count("again") == 2, "flags together, as getopt has them"


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("%rscalene", "which statement?"),
        ("%rscalene -x 1", "unrecognized arguments: -x"),
        ("%rscalene --sort speed spin(1)", "invalid choice: 'speed'"),
        ("%%rscalene -f nothing\npass", "cannot watch 'nothing': NameError"),
        ("%%rscalene -m nothing\npass", "cannot watch module 'nothing'"),
        ("%mprun spin(1)", "which functions?"),
        ("%rscalene await later(1)", "a cell that begins with %%rscalene can"),
        ("%%rscalene --top x\npass", "invalid int value: 'x'"),
        ("%%rscalene --json no/such/p.json\nraise KeyError", "cannot write 'no/such/p.json': there is no folder"),
        ("%%rscalene --json .\nraise KeyError", "cannot write '.': it is a folder"),
        ("%%mprun -f spin -T no/x\nraise KeyError", "cannot write 'no/x': there is no folder"),
    ],
)
def test_misuse_gives_an_error_without_a_traceback(run: Run, source: str, part: str) -> None:
    cell = run(source, fails=True)
    assert printed(cell).startswith("UsageError: ")
    assert part in printed(cell)
    assert "Traceback" not in printed(cell)


def test_cells_that_run_cells_are_measured_to_their_own_end(run: Run) -> None:
    cell = run("%%rscalene\nget_ipython().run_cell('z = spin(10)')\nspin(1_000_000)")
    assert lines(cell)["In [2]:4"]["python_s"] > 0.01


def test_unloading_leaves_cells_as_they_were(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    with kernel.client.setup_kernel():
        kernel.run("%load_ext rscalene\n%load_ext rscalene")
        assert shown(kernel.run("%%rscalene\nsum(range(10))"))
        kernel.run("%unload_ext rscalene\n%load_ext rscalene")
        assert shown(kernel.run("%%rscalene\nsum(range(10))"))
        kernel.run("%unload_ext rscalene")
        kernel.run("ip = get_ipython()\nassert not ip.ast_transformers\nassert len(ip.input_transformers_cleanup) == 4")


def test_a_traceback_shows_the_magic_as_it_was_typed(run: Run) -> None:
    cell = run("%%rscalene --top 3\nraise ValueError('stop')", fails=True)
    trace = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(next(o for o in cell.outputs if o.output_type == "error").traceback))
    assert "# %%rscalene --top 3" in trace
    assert "notebook.magics" not in trace
    lines = next(o.data["text/html"] for o in cell.outputs if "text/html" in o.get("data", {}))
    assert "# %%rscalene" not in lines
