"""Pools of processes and threads under `rscalene run`: labels on functions tell their tasks apart."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from conftest import Run

from .figures import WORK, bytes_of, labels, line_of

TASKS = """
import sys
import rscalene, work

@rscalene.label(task="digest")
def digest(number):
    return work.digest(number)

@rscalene.label(task="grow")
def grow(number):
    return work.grow(number)
"""

POOLS = {
    "multiprocessing.Pool": """
        from multiprocessing import get_context
        with get_context(METHOD).Pool(2) as pool:
            pool.map(tasks.digest, range(8))
            pool.map(tasks.grow, range(20))
            pool.close()
            pool.join()
    """,
    "ProcessPoolExecutor": """
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        with ProcessPoolExecutor(2, mp_context=get_context(METHOD)) as pool:
            list(pool.map(tasks.digest, range(8)))
            list(pool.map(tasks.grow, range(20)))
    """,
    "ThreadPoolExecutor": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(tasks.digest, range(8)))
            list(pool.map(tasks.grow, range(20)))
    """,
    "joblib": """
        from joblib import Parallel, delayed
        Parallel(n_jobs=2)(delayed(tasks.digest)(number) for number in range(8))
        Parallel(n_jobs=2)(delayed(tasks.grow)(number) for number in range(20))
    """,
}
METHODS = [method for method in multiprocessing.get_all_start_methods() if method != "forkserver"]
CASES = [
    *((pool, method) for pool in ("multiprocessing.Pool", "ProcessPoolExecutor") for method in METHODS),
    ("ThreadPoolExecutor", ""),
    ("joblib", ""),
]


@pytest.mark.parametrize(("pool", "method"), CASES)
def test_labelled_functions_stay_separate_in_every_pool(rscalene: Run, tmp_path: Path, pool: str, method: str) -> None:
    shutil.copy(WORK, tmp_path)
    (tmp_path / "tasks.py").write_text(TASKS)
    body = POOLS[pool].replace("METHOD", repr(method)).replace("\n        ", "\n    ")
    (tmp_path / "app.py").write_text(f"import tasks\nif __name__ == '__main__':\n{body}")
    ran = rscalene("run", "-q", "-o", "run.json", "app.py")
    assert ran.returncode == 0, ran.stderr
    profile = json.loads((tmp_path / "run.json").read_text())
    assert {task: row["count"] for task, row in labels(profile).items()} == {"digest": 8, "grow": 20}
    assert bytes_of(profile, "digest")[line_of("block = b")] == pytest.approx(8 * 20_000_000, rel=1e-3)
    assert bytes_of(profile, "grow")[line_of("bytearray(500_000)")] == pytest.approx(20 * 5_000_000, rel=2e-2)
