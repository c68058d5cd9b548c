"""What profilers of a cluster's work tell of jobs with a known truth, and what they cost.

Run it in the environment of `make test-clusters`, with memray beside (`pip install memray==1.20.0`)::

    PYTHONPATH=tests/clusters .build/venv-clusters/bin/python benches/clusters.py

The table of docs/clusters.md comes from its output. Costs are CPU seconds: of the worker processes (Dask), or of
the UDF's own thread (Spark), at the median of three jobs.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

KINDS = ("crunch", "digest", "grow")
ROUNDS = 3


def per_kind(figures: dict[str, float], unit: str) -> str:
    """Return one figure a kind of task."""
    return ", ".join(f"{kind} {figures.get(kind, 0):.3g} {unit}" for kind in KINDS)


def dask() -> None:
    """Run three kinds of task, 40 each, on two workers of one thread."""
    import rscalene.dask
    import work
    from distributed import Client, LocalCluster
    from distributed.diagnostics import memray

    def spent(client: Client) -> float:
        return sum(client.run(time.process_time).values())

    def job(client: Client) -> dict[str, float]:
        return {kind: sum(client.gather(client.map(getattr(work, kind), range(40), pure=False))) for kind in KINDS}

    place = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(**place) as cluster, Client(cluster) as client:
        job(client)
        tools: dict[str, Callable[[], Any]] = {
            "none": contextlib.nullcontext,
            "rscalene": lambda: rscalene.dask.profile(client),
            "rscalene, memory=False": lambda: rscalene.dask.profile(client, memory=False),
            "memray_workers": lambda: memray.memray_workers("memray-plain", report_args=False),
            "memray_workers, Python's allocators too": lambda: memray.memray_workers(
                "memray-python", report_args=False, trace_python_allocators=True
            ),
        }
        costs: dict[str, list[float]] = {tool: [] for tool in tools}
        for _ in range(ROUNDS):
            for folder in ("memray-plain", "memray-python"):
                shutil.rmtree(folder, ignore_errors=True)
            for tool, enter in tools.items():
                began, before = time.time(), spent(client)
                with enter() as p:
                    took = job(client)
                costs[tool].append(spent(client) - before)
                if tool == "none":
                    print("truth:", per_kind(took, "s CPU"))
                    profiles = {kind: client.profile(key=kind, start=began) for kind in KINDS}
                    print("  Dask's profiler:", per_kind({k: p["count"] * 0.01 for k, p in profiles.items()}, "s wall"))
                elif tool == "rscalene":
                    rows = {row["labels"]["task"]: row for row in p.result().to_dict()["labels"]}
                    print("truth:", per_kind(took, "s CPU"))
                    print("  rscalene:", per_kind({k: rows[k]["cpu_s"] for k in KINDS}, "s CPU"))
                    print("  rscalene:", per_kind({k: rows[k]["alloc_bytes"] / 1e6 for k in KINDS}, "MB"))
        tell(costs)
    for folder in ("memray-plain", "memray-python"):
        print(f"{folder}:", per_kind(read_memray(folder), "MB"))


def read_memray(folder: str) -> dict[str, float]:
    """Return megabytes allocated below each kind's function, of memray's raw files; takes minutes."""
    from memray import FileReader

    found = dict.fromkeys(KINDS, 0.0)
    for path in glob.glob(f"{folder}/**/*", recursive=True):
        if not os.path.isfile(path):
            continue
        with contextlib.suppress(OSError), FileReader(path) as reader:
            for record in reader.get_allocation_records():
                if record.size:
                    for function, _file, _line in record.stack_trace(12):
                        if function in found:
                            found[function] += record.size / 1e6
                            break
    return found


def spark() -> None:
    """Run a UDF that allocates 1,600,112,000 bytes in 2,000 rows, and one that burns CPU."""
    import rscalene.spark
    import work
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import udf

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.python.daemon.module", "rscalene.spark.daemon")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    session.sparkContext.addPyFile(work.__file__)

    def job() -> float:
        crunch, fat = udf(work.crunch, "double"), udf(work.fat, "long")
        frame = session.range(0, 100, 1, 4).select(crunch("id").alias("c"))
        took: float = frame.agg({"c": "sum"}).collect()[0][0]
        session.range(0, 2000, 1, 4).select(fat("id").alias("n")).agg({"n": "sum"}).collect()
        return took

    @contextlib.contextmanager
    def udf_profiler() -> Iterator[None]:
        session.profile.clear()
        session.conf.set("spark.sql.pyspark.udf.profiler", "perf")
        try:
            yield
        finally:
            session.conf.unset("spark.sql.pyspark.udf.profiler")

    tools: dict[str, Callable[[], Any]] = {
        "none": contextlib.nullcontext,
        "rscalene": lambda: rscalene.spark.profile(session),
        "rscalene, memory=False": lambda: rscalene.spark.profile(session, memory=False),
        "Spark's UDF profiler": udf_profiler,
    }
    costs: dict[str, list[float]] = {tool: [] for tool in tools}
    job()
    for _ in range(ROUNDS):
        for tool, enter in tools.items():
            with enter() as p:
                # Workers of the block's own start first.
                first = job()
                costs[tool].append(job())
                truth = first + costs[tool][-1]
            if tool == "rscalene":
                files = {os.path.basename(f["path"]): f["lines"] for f in p.result().to_dict()["files"]}
                lines = files["work.py"]
                cpu = sum(line[key] or 0 for line in lines for key in ("python_s", "native_s", "system_s"))
                print(f"truth of two jobs: {truth:.2f} s CPU, {2 * 1_600_112_000} B")
                print(f"  rscalene: {cpu:.2f} s CPU, {max(line['alloc_bytes'] for line in lines)} B on the line")
            elif tool == "Spark's UDF profiler":
                shown = io.StringIO()
                with contextlib.redirect_stdout(shown):
                    session.profile.show(type="perf")
                print("  Spark's:", re.findall(r"^.*(?:crunch|fat).*$", shown.getvalue(), re.M))
    tell(costs)


def tell(costs: dict[str, list[float]]) -> None:
    """Print the cost of each tool."""
    plain = statistics.median(costs["none"])
    for tool, seconds in costs.items():
        print(f"{tool}: {statistics.median(seconds):.2f} s, x{statistics.median(seconds) / plain:.2f}")


if __name__ == "__main__":
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.chdir(tempfile.mkdtemp())
    for name in sys.argv[1:] or ("dask", "spark"):
        {"dask": dask, "spark": spark}[name]()
