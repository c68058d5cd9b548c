"""Profiles for the tests of the HTML report: one like a real program's, a hostile one, and a very large one."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

Json = dict[str, Any]

PROGRAM = '''"""Load orders, join them with prices, and report."""

import json
import time
from functools import lru_cache

CACHE = {}


def load(path):
    """Read one order a line."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@lru_cache(maxsize=None)
def price(item: str) -> float:
    return sum(ord(c) * 1.07 ** i for i, c in enumerate(item)) / 97


def join(orders):
    table = {}
    for order in orders:
        key = (order["item"], order["day"])
        table.setdefault(key, []).append(order | {"price": price(order["item"])})
    return table


def matrix(n):
    import numpy as np

    a = np.random.rand(n, n)
    b = a @ a.T
    return b + a


def wait_for_upstream(seconds):
    time.sleep(seconds)  # the upstream is slow: 上流が遅い


def remember(order):
    CACHE[id(order)] = f"{order['item']!r:>20} {order['day']}"


def report(table):
    total = 0.0
    for key, orders in sorted(table.items()):
        for order in orders:
            remember(order)
            total += order["price"]
    return total


def main():
    orders = load("orders.jsonl")
    table = join(orders)
    matrix(2000)
    wait_for_upstream(1.4)
    print(report(table))


main()
'''

# line, function, python, native, system, wait (s), samples, MiB allocated, freed, live, at peak, copied
FIGURES = [
    (12, "load", 0.02, 0.01, 0.09, 0.03, 118, 0.5, 0.5, 0.0, 0.0, 0.1),
    (13, "load", 0.31, 1.12, 0.21, 0.05, 1631, 412.7, 31.2, 0.0, 381.0, 88.0),
    (18, "price", 0.74, 0.02, 0.0, 0.0, 758, 1.2, 1.1, 0.1, 0.1, 0.0),
    (23, "join", 0.21, 0.0, 0.0, 0.0, 207, 0.0, 0.0, 0.0, 0.0, 0.0),
    (24, "join", 0.44, 0.03, 0.0, 0.0, 466, 61.0, 12.0, 0.0, 49.0, 0.0),
    (25, "join", 2.63, 0.31, 0.02, 0.0, 2951, 224.1, 8.8, 0.0, 201.3, 12.5),
    (32, "matrix", 0.0, 0.22, 0.05, 0.0, 268, 30.5, 0.0, 0.0, 30.5, 0.0),
    (33, "matrix", 0.0, 1.94, 0.11, 0.0, 2044, 30.5, 0.0, 0.0, 30.5, 0.0),
    (34, "matrix", 0.0, 0.06, 0.09, 0.0, 151, 30.5, 61.0, 0.0, 30.5, 30.5),
    (38, "wait_for_upstream", 0.0, 0.0, 0.0, 1.4, 0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (42, "remember", 0.92, 0.11, 0.01, 0.0, 1039, 143.2, 2.0, 139.0, 12.0, 3.0),
    (47, "report", 0.08, 0.19, 0.0, 0.0, 266, 4.0, 4.0, 0.0, 0.0, 2.0),
    (49, "report", 0.37, 0.0, 0.0, 0.0, 371, 0.0, 0.0, 0.0, 0.0, 0.0),
    (50, "report", 0.29, 0.0, 0.0, 0.0, 288, 0.0, 0.0, 0.0, 0.0, 0.0),
]
NATIVE: dict[int, list[list[Any]]] = {
    13: [["_json.cpython-312-x86_64-linux-gnu.so", "scanner_call", 0.83], ["libc.so.6", None, 0.29]],
    33: [
        ["libopenblas64_p-r0-0cf96a72.so", "dgemm_kernel_HASWELL", 1.9],
        ["libopenblas64_p-r0-0cf96a72.so", "dgemm_otcopy", 0.04],
    ],
}
MIB = 1 << 20


def line(row: Any, source: str | None, interval: float = 65536.0) -> Json:
    """One line of the profile; times in seconds, memory in MiB."""
    figures: list[Any] = list(row)
    number, function, python, native, system, wait, samples, alloc, freed, live, peak, copied = figures

    def error(mib: float) -> float:
        return math.sqrt(interval * mib * MIB) if mib < 100 else 0.02 * mib * MIB

    return {
        "line": number,
        "function": function,
        "source": source,
        "python_s": python,
        "native_s": native,
        "system_s": system,
        "wait_s": wait,
        "gil_wait_s": None,
        "cpu_samples": samples,
        "alloc_bytes": int(alloc * MIB),
        "alloc_bytes_se": error(alloc),
        "alloc_count": int(alloc * 900),
        "free_bytes": int(freed * MIB),
        "increment_bytes": int((alloc - freed) * MIB),
        "live_bytes": int(live * MIB),
        "live_bytes_se": error(live),
        "peak_bytes": int(peak * MIB),
        "peak_bytes_se": error(peak),
        "mem_usage_bytes": int(800 * MIB),
        "python_alloc_bytes": int(alloc * MIB * 0.9),
        "copy_bytes": int(copied * MIB),
        "native": [{"object": o, "symbol": s, "s": t} for o, s, t in NATIVE.get(number, [])],
    }


def share(entry: Json, other: int) -> None:
    """Split a line: a tenth of its Python time and all of its waiting are thread 1's, a fifth of 18 is process 1's."""
    python, wait = entry["python_s"], entry["wait_s"]
    rest = {"native_s": entry["native_s"], "system_s": entry["system_s"], "gil_wait_s": None}
    none = {"native_s": 0.0, "system_s": 0.0, "gil_wait_s": None}
    entry["by_thread"] = [{"thread": 0, "python_s": python * 0.9, "wait_s": 0.0, **rest}]
    if python or wait:
        entry["by_thread"].append({"thread": 1, "python_s": python * 0.1, "wait_s": wait, **none})
    entry["by_process"] = [{"process": 0, "python_s": python * (0.8 if other else 1), "wait_s": wait, **rest}]
    if other:
        entry["by_process"].append({"process": 1, "python_s": python * 0.2, "alloc_bytes": 90 * MIB, **none})


def skeleton(files: list[Json], cwd: str, elapsed: float) -> Json:
    """A profile around files: its totals are their sums."""
    lines = [entry for file in files for entry in file["lines"]]

    def total(key: str) -> float:
        return sum(entry[key] or 0 for entry in lines)

    sums = {key: total(key) for key in ("python_s", "native_s", "system_s", "wait_s")}
    counts = {
        key: int(total(key))
        for key in ("alloc_bytes", "alloc_count", "free_bytes", "live_bytes", "peak_bytes", "copy_bytes")
    }
    cpu = sums["python_s"] + sums["native_s"] + sums["system_s"]
    return {
        "format": {"name": "rscalene-profile", "major": 1, "minor": 0},
        "tool": {"version": "0.1.0"},
        "target": {
            "command": ["python", "app.py"],
            "cwd": cwd,
            "python": "3.12.1",
            "free_threaded": False,
            "platform": "linux-x86_64",
            "pid": 7,
            "exit": {"code": 0, "signal": None},
        },
        "clock": {"started_at": "2026-01-01T00:00:00Z", "elapsed_s": elapsed},
        "settings": {
            "cpu": {"source": "perf", "interval_s": 0.001},
            "memory": {"mode": "sampled", "interval_bytes": 65536},
            "scope": {"include": [], "exclude": [], "all": False},
        },
        "totals": {
            **sums,
            "gil_wait_s": None,
            **counts,
            "peak_rss_bytes": 812 * MIB,
            "cpu_samples": int(total("cpu_samples")),
            "alloc_samples": 14211,
            "lost_records": 3,
            "cpu_clock_s": cpu * 1.01,
            "sampled_cpu_s": cpu,
            "outside_scope": {"python_s": 0.2, "native_s": 0, "system_s": 0, "wait_s": 0, "gil_wait_s": None},
        },
        "files": files,
        "timeline": {"rss": [], "live": []},
        "threads": [],
        "processes": [],
        "stacks": {"frames": [], "nodes": [], "other_files": []},
        "leaks": [],
        "notices": [],
    }


def program(folder: Path) -> Json:
    """A profile like a real program's; its source is written into `folder`."""
    path = folder / "app.py"
    path.write_text(PROGRAM, encoding="utf-8")
    source = PROGRAM.splitlines()
    lines = [line(row, source[row[0] - 1]) for row in FIGURES]
    spans = {
        "load": (10, 13),
        "price": (17, 18),
        "join": (21, 26),
        "matrix": (29, 34),
        "wait_for_upstream": (37, 38),
        "remember": (41, 42),
        "report": (45, 51),
        "main": (54, 59),
    }
    functions = []
    for name, (first, last) in spans.items():
        own = {
            key: sum(e[key] for e in lines if e["function"] == name)
            for key in ("python_s", "native_s", "system_s", "wait_s")
        }
        wall = sum(own.values())
        if name in {"main", "join", "report"}:
            wall += {"main": 10.7, "join": 0.76, "report": 1.04}[name]
        functions.append(
            {
                "name": name,
                "qualname": name,
                "first_line": first,
                "last_line": last,
                "self": {**own, "gil_wait_s": None},
                "cumulative": {"cpu_s": wall, "wall_s": wall, "alloc_bytes": 400 * MIB if name == "main" else 0},
            }
        )
    profile = skeleton([{"path": str(path), "lines": lines, "functions": functions}], str(folder), 12.4)
    rng = random.Random(5)
    for i in range(400):
        t = 12.4 * i / 399
        rss = (
            40
            + 560 * min(1, t / 3)
            + (210 * (t - 3) / 4 if 3 < t < 7 else 0)
            - (390 if t > 7 else 0)
            + rng.random() * 6
        )
        profile["timeline"]["rss"].append([t, int((rss if i != 225 else 812) * MIB)])
        profile["timeline"]["live"].append([t, int((rss - 34) * 0.93 * MIB)])
    frames: list[Json] = [{"file": 0, "function": "<module>", "line": 62}]
    nodes: list[Json] = [{"parent": None, "frame": 0, "cpu_s": 0, "wall_s": 0, "alloc_bytes": 0}]
    calls = {"load": 55, "join": 56, "matrix": 57, "wait_for_upstream": 58, "report": 59}

    def node(
        parent: int, file: int, function: str, number: int, cpu: float = 0, wall: float = 0, alloc: int = 0
    ) -> int:
        frames.append({"file": file, "function": function, "line": number})
        figures = {"cpu_s": cpu, "wall_s": wall, "alloc_bytes": alloc}
        nodes.append({"parent": parent, "frame": len(frames) - 1, **figures})
        return len(nodes) - 1

    callers = {name: node(0, 0, "main", number) for name, number in calls.items()}
    callers["price"] = node(callers["join"], 0, "join", 25)
    callers["remember"] = node(callers["report"], 0, "report", 49)
    by_thread: list[Json] = []
    by_process: list[Json] = []
    for entry in lines:
        cpu = entry["python_s"] + entry["native_s"] + entry["system_s"]
        leaf = node(
            callers[entry["function"]],
            0,
            entry["function"],
            entry["line"],
            cpu,
            cpu + entry["wait_s"],
            entry["alloc_bytes"],
        )
        nodes[leaf]["peak_bytes"] = entry["peak_bytes"]
        tenth, wait = entry["python_s"] * 0.1, entry["wait_s"]
        of_first = {"cpu_s": cpu - tenth, "wall_s": cpu - tenth, "alloc_bytes": entry["alloc_bytes"]}
        of_second = {"cpu_s": tenth, "wall_s": tenth + wait, "alloc_bytes": 0}
        by_thread += [{"node": leaf, "thread": 0, **of_first}, {"node": leaf, "thread": 1, **of_second}]
        of_child = {"cpu_s": 0.1, "wall_s": 0.1, "alloc_bytes": 90 * MIB, "peak_bytes": 7 * MIB}
        if entry["line"] == 18:
            by_process.append({"node": leaf, "process": 1, **of_child})
        if entry["line"] == 13:
            node(leaf, 1, "JSONDecoder.decode", 338, 0.6, 0.6, 90 * MIB)
    profile["stacks"] = {
        "frames": frames,
        "nodes": nodes,
        "other_files": ["/usr/lib/python3.12/json/decoder.py"],
        "by_thread": by_thread,
        "by_process": by_process,
    }
    profile["threads"] = [
        {
            "pid": 7,
            "tid": 7,
            "name": "MainThread",
            "python_s": 5.9,
            "native_s": 4.0,
            "system_s": 0.6,
            "wait_s": 1.5,
            "gil_wait_s": None,
            "cpu_clock_s": 10.6,
        },
        {
            "pid": 7,
            "tid": 9,
            "name": "worker <1>",
            "python_s": 0.1,
            "native_s": 0.0,
            "system_s": 0.0,
            "wait_s": 9.0,
            "gil_wait_s": None,
            "cpu_clock_s": 0.1,
        },
    ]
    profile["processes"] = [
        {
            "pid": pid,
            "parent": parent,
            "command": ["python", "app.py"],
            "exit": {"code": 0, "signal": None},
            "peak_rss_bytes": 812 * MIB,
            "python_s": python,
            "alloc_bytes": 90 * MIB,
        }
        for pid, parent, python in ((7, 1, 5.9), (12, 7, 0.1))
    ]
    for entry in lines:
        share(entry, 1 if entry["line"] == 18 else 0)
    profile["leaks"] = [{"file": 0, "line": 42, "live_bytes": 139 * MIB, "bytes_per_s": 11.9 * MIB, "confidence": 0.97}]
    profile["notices"] = [{"code": "other", "process": 12, "text": "it is statically linked and could not be profiled"}]
    return profile


def idle(folder: Path) -> Json:
    """A program that ended before anything of it was seen: a function, no line, no stack, no memory."""
    path = folder / "app.py"
    path.write_text("def main(): pass\n", encoding="utf-8")
    function = {"name": "main", "qualname": "main", "first_line": 1, "last_line": 1, "cumulative": {"cpu_s": 0.01}}
    function["self"] = {"python_s": 0.0, "native_s": 0.0, "system_s": 0.0, "wait_s": 0.0}
    profile = skeleton([{"path": str(path), "lines": [], "functions": [function]}], str(folder), 0.02)
    profile["totals"]["lost_records"] = 0
    return profile


def rarely_met(folder: Path) -> Json:
    """The same program with a thread that took more CPU time than its samples place: they were too few."""
    profile = program(folder)
    placed = sum(share["cpu_s"] for share in profile["stacks"]["by_thread"] if share["thread"] == 1)
    profile["threads"][1]["python_s"] = placed + 2.0
    return profile


def undivided(folder: Path) -> Json:
    """The same program with a child whose interpreter's frames cannot be read: its user time is one sum."""
    profile = program(folder)
    profile["processes"][1] |= {"python_s": None, "native_s": None, "system_s": 0.1, "user_s": 0.9}
    return profile


HOSTILE = '</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1">\u202e\u2028'


def hostile(folder: Path) -> Json:
    """The same program with every name and text an attempt to inject."""
    profile = program(folder)
    evil = folder / 'a"><svg onload=window.pwned=1> #%3C.py'
    source = PROGRAM.splitlines()
    source[24] = f"x = '{HOSTILE}'  # <b>{HOSTILE}".replace("\u2028", "")
    evil.write_text("\n".join(source), encoding="utf-8")
    file = profile["files"][0]
    file["path"] = str(evil)
    for entry in file["lines"]:
        entry["source"] = source[entry["line"] - 1]
        entry["function"] += HOSTILE
        entry["native"] = [{"object": HOSTILE, "symbol": HOSTILE, "s": 0.1}]
    for function in file["functions"]:
        function["qualname"] += HOSTILE
    for frame in profile["stacks"]["frames"]:
        frame["function"] += HOSTILE
    profile["target"]["command"] = ["python", HOSTILE]
    profile["target"]["cwd"] = HOSTILE
    profile["notices"] = [{"code": HOSTILE, "process": None, "text": HOSTILE}]
    profile["threads"][0]["name"] = HOSTILE
    return profile


def large(folder: Path, files: int = 300, per_file: int = 334) -> Json:
    """Very many files; every line has figures, as from about a million samples."""
    rng = random.Random(11)
    words = PROGRAM.splitlines()
    entries: list[Json] = []
    for index in range(files):
        path = folder / f"pkg{index % 17}" / f"module_{index:03}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = [words[(n * 7 + index) % len(words)] + f"  # {rng.randrange(10**6)}" for n in range(per_file)]
        path.write_text("\n".join(source), encoding="utf-8")
        lines = []
        for n in range(per_file):
            samples = int(rng.expovariate(1 / 10)) + 1
            alloc = rng.expovariate(1 / 2) if rng.random() < 0.4 else 0.0
            python = round(samples * 0.001 * rng.random(), 3)
            row = (
                n + 1,
                f"f{n // 20}",
                python,
                round(samples * 0.001 - python, 3),
                0.0,
                0.0,
                samples,
                alloc,
                alloc * rng.random(),
                alloc * 0.1 if rng.random() < 0.2 else 0.0,
                alloc * 0.3 if rng.random() < 0.3 else 0.0,
                0.0,
            )
            lines.append(line(row, source[n]))
            share(lines[-1], 0)
            del lines[-1]["by_process"]
        functions = [
            {
                "name": f"f{k}",
                "qualname": f"f{k}",
                "first_line": k * 20 + 1,
                "last_line": k * 20 + 20,
                "self": {"python_s": 0.1, "native_s": 0.1, "system_s": 0, "wait_s": 0, "gil_wait_s": None},
                "cumulative": {"cpu_s": 0.2, "wall_s": 0.2, "alloc_bytes": 0},
            }
            for k in range(per_file // 20)
        ]
        entries.append({"path": str(path), "lines": lines, "functions": functions})
    profile = skeleton(entries, str(folder), 1000.0)
    frames: list[Json] = [{"file": 0, "function": "<module>", "line": 1}]
    nodes: list[Json] = [{"parent": None, "frame": 0, "cpu_s": 0.0, "wall_s": 0.0, "alloc_bytes": 0}]
    for index, entry in enumerate(entries):
        above = 0
        for n, measured in enumerate(entry["lines"][::3]):
            frames.append({"file": index, "function": measured["function"], "line": measured["line"]})
            seconds = measured["python_s"]
            figures = {"cpu_s": seconds, "wall_s": seconds, "alloc_bytes": measured["alloc_bytes"]}
            nodes.append({"parent": above, "frame": len(frames) - 1, **figures})
            above = len(nodes) - 1 if n % 20 else 0
    profile["stacks"] = {"frames": frames, "nodes": nodes, "other_files": []}
    profile["threads"] = [{"pid": 7, "tid": tid, "name": f"t{tid}", "python_s": 9.0} for tid in (7, 8)]
    profile["processes"] = [{"pid": 7, "parent": 1, "command": ["python"], "exit": {"code": 0, "signal": None}}]
    return profile


def write(profile: Json, path: Path) -> Path:
    """The profile as a JSON file."""
    path.write_text(json.dumps(profile), encoding="utf-8")
    return path
