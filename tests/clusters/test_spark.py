"""Spark: RDDs and UDFs of all kinds by line, through an accumulator."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rscalene.spark
from conftest import Run

from .figures import WORK, bytes_of, for_spark, line_of

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
    # A JVM on a busy machine.
    pytest.mark.timeout(240),
]

SESSION = """
import json, os, signal, sys
import pandas, pyarrow
import rscalene, rscalene.spark, work
from pyspark.sql import SparkSession
from pyspark.sql.functions import arrow_udf, pandas_udf, udf

def session(**more):
    builder = SparkSession.builder.master("local[2,4]")
    settings = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
                "spark.ui.showConsoleProgress": "false", "spark.sql.shuffle.partitions": "2", **more}
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    spark.sparkContext.addPyFile("work.py")
    return spark

def save(p, name):
    p.result().save(name + ".json")
    print(name, p.processes)
"""

JOBS = (
    SESSION
    + """
spark = session()
context = spark.sparkContext

with rscalene.spark.profile(spark) as p:
    fat = udf(work.fat, "long")
    frame = spark.range(0, 2000, 1, 4)
    assert frame.select(fat("id").alias("n")).agg({"n": "sum"}).collect()[0][0] == 200_000_000
save(p, "rows")

@pandas_udf("long")
def by_pandas(column: pandas.Series) -> pandas.Series:
    size = len(bytearray(3_000_000))
    return column + size

@arrow_udf("long")
def by_arrow(column: pyarrow.Array) -> pyarrow.Array:
    bytearray(5_000_000)
    return column

with rscalene.spark.profile(spark, interval=0.005) as p:
    context.setJobDescription("by pandas")
    spark.range(0, 100, 1, 2).select(by_pandas("id")).collect()
    context.setJobDescription("by arrow")
    spark.range(0, 100, 1, 2).select(by_arrow("id")).collect()
    context.setJobDescription("an rdd")
    assert context.parallelize(range(40), 4).map(work.fat).sum() == 4_000_000
    context.setJobDescription(None)
save(p, "kinds")

def once(number):
    work.fat(number)
    if number == 15 and not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1

os.chdir(os.path.dirname(os.path.abspath(__file__)))
with rscalene.spark.profile(spark) as p:
    assert context.parallelize(range(16), 16).map(once).sum() == 16
save(p, "killed")

# After the block workers are Spark's own again.
assert context.parallelize(range(4), 2).map(lambda _: "RSCALENE_SPARK" in os.environ).collect() == [False] * 4
"""
)


def load(path: Path) -> dict[str, Any]:
    profile: dict[str, Any] = json.loads(path.read_text())
    return profile


def allocated(profile: dict[str, Any], file: str, line: int) -> int:
    found = [
        row["alloc_bytes"]
        for entry in profile["files"]
        if entry["path"].endswith(file)
        for row in entry["lines"]
        if row["line"] == line
    ]
    return sum(found)


def labelled(profile: dict[str, Any]) -> dict[str, int]:
    return {row["labels"]["task"]: row["count"] for row in profile["labels"]}


def test_spark_submit_with_one_setting_profiles_rdds_and_udfs_of_all_kinds(
    tmp_path: Path, clean_env: dict[str, str]
) -> None:
    shutil.copy(WORK, tmp_path)
    (tmp_path / "app.py").write_text(JOBS)
    submit = Path(sys.executable).with_name("spark-submit")
    words: list[str | Path] = [submit, "--conf", "spark.python.daemon.module=rscalene.spark.daemon", "app.py"]
    ran = subprocess.run(
        words, cwd=tmp_path, env=for_spark(clean_env), capture_output=True, text=True, timeout=220, check=False
    )
    assert ran.returncode == 0, ran.stderr
    row = line_of("row = [0]")

    rows = load(tmp_path / "rows.json")
    assert allocated(rows, "work.py", row) == pytest.approx(1_600_112_000, rel=1e-3)
    assert [count for task, count in labelled(rows).items() if task.startswith("collect at")] == [4]

    kinds = load(tmp_path / "kinds.json")
    assert labelled(kinds) == {"by pandas": 2, "by arrow": 2, "an rdd": 4}
    lines = JOBS.splitlines()
    for text, size in (("bytearray(3_000_000)", 6_000_000), ("    bytearray(5_000_000)", 10_000_000)):
        number = next(number for number, line in enumerate(lines, 1) if text in line)
        assert allocated(kinds, "app.py", number) == pytest.approx(size, rel=1e-3)
    assert allocated(kinds, "work.py", row) == pytest.approx(40 * 800_056, rel=1e-3)

    # What had ended before the death counts, and the task that was run again.
    killed = load(tmp_path / "killed.json")
    assert (tmp_path / "died").exists()
    assert allocated(killed, "work.py", row) == pytest.approx(16 * 800_056, rel=1e-3)


LAUNCHED = (
    SESSION
    + """
spark = session(**{"spark.python.daemon.module": "rscalene.spark.daemon"})
with rscalene.spark.profile(spark) as p:
    spark.sparkContext.setJobDescription("fat")
    spark.sparkContext.parallelize(range(40), 4).map(work.fat).sum()
try:
    p.result()
except RuntimeError as error:
    print(error)
"""
)


def test_under_rscalene_run_tasks_have_labels_in_the_runs_profile(
    rscalene: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    shutil.copy(WORK, tmp_path)
    (tmp_path / "app.py").write_text(LAUNCHED)
    ran = rscalene("run", "-q", "-o", "run.json", "app.py", env=for_spark(clean_env), timeout=220)
    assert ran.returncode == 0, ran.stderr
    assert "`rscalene run` profiles this program, workers included" in ran.stdout
    profile = load(tmp_path / "run.json")
    assert labelled(profile) == {"fat": 4}
    assert bytes_of(profile, "fat")[line_of("row = [0]")] == pytest.approx(40 * 800_056, rel=1e-3)


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (SimpleNamespace(), "Spark Connect"),
        ({}, 'SparkSession.builder.config("spark.python.daemon.module", "rscalene.spark.daemon")'),
        ({}, "spark-submit --conf spark.python.daemon.module=rscalene.spark.daemon app.py"),
        ({"spark.python.daemon.module": "other.daemon"}, "`other.daemon`"),
        (
            {"spark.python.daemon.module": "rscalene.spark.daemon", "spark.python.use.daemon": "false"},
            "leave `spark.python.use.daemon` at its default",
        ),
    ],
)
def test_the_message_says_which_setting_is_missing(session: Any, said: str) -> None:
    if isinstance(session, dict):
        session = SimpleNamespace(_sc=SimpleNamespace(getConf=lambda settings=session: settings))
    with pytest.raises(RuntimeError) as error, rscalene.spark.profile(session):
        pass
    assert said in str(error.value)
