"""Spark's daemon, whose workers profile themselves: ``spark.python.daemon.module=rscalene.spark.daemon``.

Without :func:`rscalene.spark.profile` on the driver, its workers do the same as Spark's own.
"""

from rscalene.spark.worker import manager

__all__ = ["manager"]

if __name__ == "__main__":
    manager()
