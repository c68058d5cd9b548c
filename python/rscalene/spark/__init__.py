"""Profiles of Spark's Python workers, by line: RDDs, Python, pandas and Arrow UDFs alike.

>>> spark = SparkSession.builder.config("spark.python.daemon.module", "rscalene.spark.daemon").getOrCreate()
>>> with rscalene.spark.profile(spark) as p:
...     frame.select(slow(frame.id)).collect()
>>> p.result().save("job.html")

Each worker profiles itself, and after each task an accumulator brings the worker's profile to the driver. rscalene must
be installed for the executors' Python. Under ``rscalene run`` the work is in the run's own profile.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from pyspark.accumulators import AccumulatorParam

from rscalene.packed import Merged, latest, launched
from rscalene.spark.worker import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

__all__ = ["profile"]

_SETTING, _MODULE = "spark.python.daemon.module", "rscalene.spark.daemon"
_UNSET = f"""Spark's Python workers are started by {{found}}, not by `{_MODULE}`
hint: set `{_SETTING}` to `{_MODULE}` before the session starts:
    SparkSession.builder.config("{_SETTING}", "{_MODULE}")
    spark-submit --conf {_SETTING}={_MODULE} app.py"""
_NO_REUSE = """`spark.python.use.daemon` is false, so that Spark starts no daemon
hint: leave `spark.python.use.daemon` at its default, true"""
_REMOTE = """this session is remote (Spark Connect): there is no way from the workers to this process
hint: profile where the Spark server's own driver runs"""
_NONE = """no task of the block ran in Python
hint: a UDF that ran before the block keeps its workers: make the UDF inside of the block, or begin the block earlier"""


class _Latest(AccumulatorParam):
    """The latest profile of each worker process. Neither order nor repetition of the updates changes the result."""

    def zero(self, value: Any) -> Any:
        """Begin with nothing."""
        return {}

    def addInPlace(self, value1: Any, value2: Any) -> Any:
        """Return the latest profile of each process from both values."""
        return latest(value1, value2)


@contextlib.contextmanager
def profile(spark: SparkSession, **options: Any) -> Iterator[Merged]:
    """Profile the Python workers of a session during a block.

    Under ``rscalene run`` with a local master, the block makes no profile: the workers are in the run's profile.

    :param options: options of :class:`rscalene.Profiler`, such as ``memory=False``.
    :raises RuntimeError: if a setting of the session is missing; the message names the setting.
    """
    context: Any = getattr(spark, "_sc", None)
    if context is None:
        raise RuntimeError(_REMOTE)
    settings = context.getConf()
    found = settings.get(_SETTING, "pyspark.daemon")
    if found != _MODULE and not launched():
        raise RuntimeError(_UNSET.format(found=f"`{found}`"))
    if settings.get("spark.python.use.daemon", "true").lower() == "false" and not launched():
        raise RuntimeError(_NO_REUSE)
    accumulator = context.accumulator({}, _Latest())
    before = context.environment.get(VARIABLE)
    # Spark starts new workers for another environment: so the block has workers of its own.
    context.environment[VARIABLE] = json.dumps({"accumulator": accumulator.aid, "options": options})
    taken = Merged(_NONE)
    try:
        yield taken
    finally:
        if before is None:
            context.environment.pop(VARIABLE, None)
        else:
            context.environment[VARIABLE] = before
        taken.take(accumulator.value)
