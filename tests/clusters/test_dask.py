"""Dask: labels by task prefix, profiles of workers merged, workers that die."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from .figures import WORK, bytes_of, labels, line_of, noise

START = """
import json, os, signal, sys, time
import rscalene, rscalene.dask, work
from distributed import Client, LocalCluster

KINDS = (work.crunch, work.digest, work.grow)

def cluster(**more):
    place = {"host": "127.0.0.1"} if more.get("processes", True) else {}
    return LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs=50, **place, **more)

def tasks(client):
    jobs = {kind.__name__: client.map(kind, range(20), pure=False) for kind in KINDS}
    return {name: sum(client.gather(futures)) for name, futures in jobs.items()}
"""

CLUSTER = (
    START
    + """
if __name__ == "__main__":
    with cluster(processes=PROCESSES) as workers, Client(workers) as client:
        with rscalene.dask.profile(client) as p:
            took = tasks(client)
        p.result().save("merged.json")
        for number, result in enumerate(p.results()):
            result.save(f"part-{number}.json")
        print(json.dumps([p.processes, took]))
"""
)

SINGLE = """
import rscalene, work
with rscalene.Profiler() as p:
    for kind in (work.crunch, work.digest, work.grow):
        for number in range(20):
            with rscalene.label(task=kind.__name__):
                kind(number)
p.save("single.json")
"""


def run(python: Run, tmp_path: Path, program: str, *words: str, **options: Any) -> str:
    shutil.copy(WORK, tmp_path)
    (tmp_path / "app.py").write_text(program)
    ran = python(*words, "app.py", **options)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def load(path: Path) -> dict[str, Any]:
    profile: dict[str, Any] = json.loads(path.read_text())
    return profile


def hold_to_the_truth(profile: dict[str, Any], single: dict[str, Any], took: dict[str, float]) -> None:
    rows, truth = labels(profile), labels(single)
    assert {task: rows[task]["count"] for task in truth} == dict.fromkeys(truth, 20)
    for task, text, size in (("digest", "block = b", 20_000_000), ("grow", "bytearray(500_000)", 5_000_000)):
        line = line_of(text)
        assert bytes_of(profile, task)[line] == pytest.approx(20 * size, rel=1e-3)
        assert bytes_of(profile, task)[line] == pytest.approx(bytes_of(single, task)[line], rel=1e-3)
    for task, seconds in took.items():
        # Dask's own work for a task bears its label, too.
        assert seconds - noise(seconds) < rows[task]["cpu_s"] < 1.2 * seconds + noise(seconds), task


@pytest.mark.timed
@pytest.mark.parametrize("processes", [True, False], ids=["processes", "threads"])
def test_merged_lines_equal_the_sum_of_single_runs_by_task_prefix(python: Run, tmp_path: Path, processes: bool) -> None:
    run(python, tmp_path, SINGLE)
    members, took = json.loads(run(python, tmp_path, CLUSTER.replace("PROCESSES", str(processes))))
    assert members == (2 if processes else 1)
    merged, single = load(tmp_path / "merged.json"), load(tmp_path / "single.json")
    hold_to_the_truth(merged, single, took)
    # Nothing comes to be or goes by the merge.
    parts = [load(path) for path in sorted(tmp_path.glob("part-*.json"))]
    assert len(parts) == members
    for task in took:
        for line, size in bytes_of(merged, task).items():
            assert size == sum(bytes_of(part, task).get(line, 0) for part in parts if task in labels(part))


DEATH = (
    START
    + """
def die(number):
    time.sleep(1.5)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    with cluster() as workers, Client(workers) as client:
        client.register_plugin(rscalene.dask.Plugin(every=0.3))
        client.gather([client.submit(work.digest, n, pure=False, workers=[w])
                       for w in client.scheduler_info()["workers"] for n in range(4)])
        before = set(client.scheduler_info()["workers"])
        victim = sorted(before)[0]
        try:
            client.submit(die, 0, workers=[victim], allow_other_workers=False, retries=0).result(timeout=5)
        except BaseException:
            pass
        client.gather(client.map(work.grow, range(20), pure=False, workers=sorted(before)[1:]))
        assert victim not in client.scheduler_info()["workers"]
        if os.environ.get("RSCALENE_ARENA") is None:
            rscalene.dask.collect(client).save("merged.json")
"""
)


def test_a_killed_worker_contributes_its_last_message(python: Run, tmp_path: Path) -> None:
    run(python, tmp_path, DEATH)
    merged = load(tmp_path / "merged.json")
    # Four blocks on each of the two workers, one of which is dead.
    assert bytes_of(merged, "digest")[line_of("block = b")] == pytest.approx(8 * 20_000_000, rel=1e-3)
    assert labels(merged)["digest"]["count"] == 8
    assert labels(merged)["grow"]["count"] == 20


def test_under_rscalene_run_tasks_have_labels_and_a_killed_worker_contributes(rscalene: Run, tmp_path: Path) -> None:
    run(rscalene, tmp_path, DEATH, "run", "-q", "-o", "run.json")
    profile = load(tmp_path / "run.json")
    assert bytes_of(profile, "digest")[line_of("block = b")] == pytest.approx(8 * 20_000_000, rel=1e-3)
    assert labels(profile)["digest"]["count"] == 8
    assert labels(profile)["grow"]["count"] == 20


PRELOADED = (
    START
    + """
if __name__ == "__main__":
    with cluster() as workers, Client(workers) as client:
        took = tasks(client)
        rscalene.dask.collect(client).save("merged.json")
        print(json.dumps(took))
"""
)


@pytest.mark.timed
def test_workers_that_preload_the_module_are_profiled_from_their_beginning(
    python: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    clean_env["DASK_DISTRIBUTED__WORKER__PRELOAD"] = "rscalene.dask"
    took = json.loads(run(python, tmp_path, SINGLE) or run(python, tmp_path, PRELOADED))
    hold_to_the_truth(load(tmp_path / "merged.json"), load(tmp_path / "single.json"), took)


REFUSED = (
    START
    + """
if __name__ == "__main__":
    with cluster() as workers, Client(workers) as client:
        try:
            rscalene.dask.collect(client)
        except RuntimeError as error:
            print(error)
"""
)


def test_a_cluster_without_the_plugin_names_the_plugin_to_register(python: Run, tmp_path: Path) -> None:
    said = run(python, tmp_path, REFUSED)
    assert "no worker of this cluster is profiled" in said
    assert "client.register_plugin(rscalene.dask.Plugin())" in said
