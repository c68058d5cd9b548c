"""CPU and waiting by line, against programs that know their own truth."""

from __future__ import annotations

import math
from typing import Any

import pytest

SLACK = 0.02
"""Two percentage points: the bound on the share of a line at 10,000 samples."""


def tolerance(share: float, run: Any) -> float:
    """Three standard errors of a share at this number of samples, and the bound itself.

    A timer sample stands for several intervals, so what counts is the number of samples that came.
    """
    samples = max(run.profile["totals"]["cpu_samples"], 1)
    return SLACK + 3 * math.sqrt(share * (1 - share) / samples)


def clock_adds_up(run: Any) -> bool:
    totals = run.profile["totals"]
    parts = [row for file in run.profile["files"] for row in file["lines"]] + [totals["outside_scope"]]
    found = sum((row[key] or 0.0) for row in parts for key in ("python_s", "native_s", "system_s"))
    return bool(abs(found / totals["cpu_clock_s"] - 1) < 0.03)


def fast(source: str) -> tuple[str, ...]:
    """A finer interval where the engine can follow it, so that a second gives thousands of samples."""
    return ("--cpu-only", "--cpu-source", source, "--interval", "250us" if source == "auto" else "1ms")


def test_equal_statements_in_a_loop_are_equal(measure: Any, source: str) -> None:
    run = measure("straight.py", "1.2", options=fast(source))
    shares = [run.line(f"s{number}").cpu_s for number in range(1, 9)]
    total = sum(shares)
    for share in shares:
        assert share / total == pytest.approx(1 / 8, abs=tolerance(1 / 8, run))
    assert clock_adds_up(run)


def test_pure_python_is_python_and_nothing_of_it_is_system(measure: Any, source: str) -> None:
    # Each sample is a signal, and that is kernel time: no more of them than the law needs.
    run = measure("straight.py", "0.8", options=("--cpu-only", "--cpu-source", source, "--interval", "1ms"))
    lines = [run.line(f"s{number}") for number in range(1, 9)]
    cpu = sum(line.cpu_s for line in lines)
    assert sum(line.python_s for line in lines) / cpu >= 0.97
    assert sum(line.system_s for line in lines) / cpu <= 0.02


def test_work_costs_the_same_inlined_called_deep_yielded_executed_and_comprehended(measure: Any, source: str) -> None:
    run = measure("calls.py", "1.2", options=fast(source))
    total = sum(run.truth.values())
    functions = {
        row["qualname"]: row["cumulative"]["cpu_s"] for file in run.profile["files"] for row in file["functions"]
    }
    names = {"inlined": "inlined", "called": "called", "generator": "generator", "executed": "executed"}
    for name, function in names.items():
        truth = run.truth[name] / total
        assert functions[function] * 1e9 / total == pytest.approx(truth, abs=tolerance(truth, run)), name
    # Walking 900 frames for a sample is dear, and it is the program's clock that pays.
    truth = run.truth["deep"] / total
    assert functions["deep"] * 1e9 / total == pytest.approx(truth, abs=0.03 + tolerance(truth, run))
    assert clock_adds_up(run)


@pytest.mark.parametrize("intervals", [1.0, 0.997, 2.0])
def test_a_cycle_does_not_keep_step_with_the_samples(measure: Any, source: str, intervals: float) -> None:
    # The timer comes at the kernel's ticks alone: what keeps step with those cannot be helped, and this does not.
    interval, seconds = (0.002, 2) if source == "auto" else (0.0091, 4)
    options = ("--cpu-only", "--cpu-source", source, "--interval", f"{interval}s")
    run = measure("cycle.py", str(seconds), str(interval * intervals), options=options)
    spent = {row["qualname"]: row["cumulative"]["cpu_s"] for file in run.profile["files"] for row in file["functions"]}
    truth = run.truth["first"] / sum(run.truth.values())
    share = spent.get("first", 0.0) / (spent.get("first", 0.0) + spent.get("second", 0.0))
    assert share == pytest.approx(truth, abs=tolerance(truth, run))


def test_each_kind_of_work_is_of_its_kind(measure: Any, source: str) -> None:
    run = measure("kinds.py", "1.5", options=("--cpu-only", "--cpu-source", source))
    laws = {"python": ("python_s", 0.97), "urandom": ("system_s", 0.95)}
    laws |= dict.fromkeys(("sorted", "sum", "json", "zlib", "hashlib"), ("native_s", 0.97))
    for mark, (kind, least) in laws.items():
        line = run.line(mark)
        assert line.samples > 0, mark
        # The law, but for what two samples could have hit beside it.
        assert getattr(line, kind) / line.cpu_s >= least - 2 / line.samples, (mark, line)
    # How long a short sleep is off the CPU, and how long it then queues for one, the machine's load decides.
    assert run.line("sleep").wait_s > 0
    assert clock_adds_up(run)


LONG = ["multiply", "divide", "join", "search", "equal", "union", "unpack", "format", "slice", "compare", "merge"]
SHORT = ["add", "float", "bits", "item", "index", "attribute", "text", "search", "compare", "slice", "store", "unpack"]


@pytest.mark.parametrize("name", [f"{name}_long" for name in LONG] + [f"{name}_short" for name in SHORT])
def test_a_long_operator_is_native_and_a_short_one_is_python(measure: Any, name: str) -> None:
    run = measure("operators.py", "1", name, options=("--cpu-only",))
    line = run.line(name)
    kind = line.native_s if name.endswith("long") else line.python_s
    assert line.samples > 20, line
    assert kind / (line.python_s + line.native_s) >= 0.9, line


def test_kernel_time_of_page_faults_stays_off_the_line_behind_them(measure: Any, source: str) -> None:
    # At the default interval, which is longer than a tick.
    run = measure("faults.py", "3", options=("--cpu-only", "--cpu-source", source))
    faults, pure = run.line("faults"), run.line("pure")
    assert faults.system_s / faults.cpu_s >= 0.5
    # A look at all ticks of an interval made it a quarter and more; what is left are ticks between the two.
    assert pure.system_s / pure.cpu_s <= 0.15
    share = run.truth["faults"] / sum(run.truth.values())
    both = faults.cpu_s + pure.cpu_s + run.line("loop").cpu_s
    assert faults.cpu_s / both == pytest.approx(share, abs=tolerance(share, run))
    assert clock_adds_up(run)


def test_a_line_behind_a_long_system_call_has_its_time(measure: Any, source: str) -> None:
    # The signal of a tick that the call met comes when the call ends, and the timer has counted on.
    run = measure("late.py", "3", options=("--cpu-only", "--cpu-source", source, "--interval", "1ms"))
    share = run.truth["call"] / sum(run.truth.values())
    call = run.line("call").cpu_s
    found = call / (call + run.line("loop").cpu_s + run.line("pure").cpu_s)
    assert found == pytest.approx(share, abs=tolerance(share, run))
    assert clock_adds_up(run)


def test_a_sleeping_line_waits_and_uses_no_cpu(measure: Any, source: str) -> None:
    run = measure("sleeps.py", options=("--cpu-only", "--cpu-source", source))
    line = run.line("sleep")
    assert line.wait_s == pytest.approx(1.0, abs=0.1)
    assert line.cpu_s <= 0.01


def test_threads_of_different_kinds_keep_their_own_time(measure: Any, source: str) -> None:
    run = measure("threads.py", "0.4", options=("--cpu-only", "--cpu-source", source))
    for mark, kind in {"pure": "python_s", "native": "native_s", "write": "system_s"}.items():
        line = run.line(mark)
        assert getattr(line, kind) / line.cpu_s >= 0.9 - 2 / line.samples, (mark, line)
    for thread in run.profile["threads"]:
        if thread["name"] in run.truth:
            clock = run.truth[thread["name"]]
            assert thread["cpu_clock_s"] == pytest.approx(clock, abs=0.02 + 0.03 * clock)
    assert clock_adds_up(run)


def test_processes_keep_their_own_time(measure: Any, source: str) -> None:
    run = measure("processes.py", "1.6", options=("--cpu-only", "--cpu-source", source, "--interval", "1ms"))
    assert len(run.profile["processes"]) >= 3
    for mark, clock in run.truth.items():
        line, loop = run.line(mark), run.line(f"{mark}_loop")
        assert line.cpu_s + loop.cpu_s == pytest.approx(clock, abs=0.02 + 0.03 * clock), mark
        assert line.python_s / line.cpu_s >= 0.97 - 2 / line.samples, mark
    assert clock_adds_up(run)


def test_tasks_of_one_loop_keep_their_own_time(measure: Any, source: str) -> None:
    run = measure("tasks.py", "0.8", options=fast(source))
    functions = {
        row["qualname"]: row["cumulative"]["cpu_s"] for file in run.profile["files"] for row in file["functions"]
    }
    total = sum(run.truth.values())
    for name in ("one", "three"):
        truth = run.truth[name] / total
        share = functions[name] / (functions["one"] + functions["three"])
        assert share == pytest.approx(truth, abs=tolerance(truth, run))


def test_the_interpreters_start_is_not_user_code(measure: Any) -> None:
    assert measure("sleeps.py").elsewhere == set()


def test_the_error_of_a_line_is_that_of_its_stretches_or_of_its_draws(measure: Any, source: str) -> None:
    run = measure(
        """
import json, random, time
clock, numbers = time.thread_time, range(60_000)
# Turns of different lengths: turns of nearly a tick each would meet the timer in long runs, not in draws.
lengths = [random.randrange(10_000, 110_000) for _ in range(250)]
truth = dict.fromkeys(("long", "rest", "often", "seldom"), 0.0)
for _ in range(6):
    begin = clock()
    for _ in range(120): sum(numbers)  # at: long
    middle = clock()
    for _ in range(60): sum(numbers)  # at: rest
    truth["long"] += middle - begin
    truth["rest"] += clock() - middle
for length in lengths:
    numbers = range(length)
    begin = clock()
    sum(numbers); sum(numbers)  # at: often
    middle = clock()
    sum(numbers)  # at: seldom
    truth["often"] += middle - begin
    truth["seldom"] += clock() - middle
print(json.dumps(truth))
""",
        options=("--cpu-source", source, "--cpu-only"),
    )
    samples = run.profile["totals"]["cpu_samples"]
    for mark in run.truth:
        line = run.line(mark)
        each_s = line.cpu_s / line.samples
        draws_s = (line.samples * (1 - line.samples / samples)) ** 0.5 * each_s
        if mark in ("long", "rest"):
            # Each of the six stretches is off by its two ends alone, however many samples it has.
            assert line.cpu_s_se < 0.5 * draws_s, mark
        else:
            assert line.cpu_s_se == pytest.approx(draws_s, rel=0.6), mark
        assert abs(line.cpu_s - run.truth[mark]) <= 4 * line.cpu_s_se + 0.02 * run.truth[mark] + 0.004, mark
