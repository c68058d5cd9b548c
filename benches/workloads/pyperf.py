"""Stands in for the ``pyperf`` module under the workloads of pyperformance: runs them in this very process.

pyperf starts workers, calibrates and collects metadata; a profiler would be measured on all of that. Here a workload
runs ``RSCALENE_BENCH_LOOPS`` times after its imports, and what it took is appended to the file
``RSCALENE_BENCH_CLOCKS`` as one JSON object: ``cpu_s`` and ``wall_s`` of the loops alone. ``RSCALENE_BENCH_CORE`` names
the one core to run on.
"""

import argparse
import asyncio
import json
import os
import time

perf_counter = time.perf_counter


class Runner:
    """As much of ``pyperf.Runner`` as the workloads use."""

    def __init__(self, add_cmdline_args=None, **options):
        """Take the workload's own arguments from the command line."""
        self.argparser = argparse.ArgumentParser()
        self.metadata = {}
        self.loops = int(os.environ.get("RSCALENE_BENCH_LOOPS", "1"))

    def parse_args(self, args=None):
        """Parse the workload's own arguments."""
        return self.argparser.parse_args(args)

    def bench_time_func(self, name, function, *args):
        """Run a function that loops by itself."""
        self._clocked(lambda: function(self.loops, *args))

    def bench_func(self, name, function, *args):
        """Run a function in a loop."""

        def loop():
            for _ in range(self.loops):
                function(*args)

        self._clocked(loop)

    def bench_async_func(self, name, function, *args):
        """Run a coroutine function in a loop, in an event loop of its own each time."""

        def loop():
            for _ in range(self.loops):
                asyncio.run(function(*args))

        self._clocked(loop)

    def _clocked(self, work):
        if core := os.environ.get("RSCALENE_BENCH_CORE"):
            os.sched_setaffinity(0, {int(core)})
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        path = os.environ.get("RSCALENE_BENCH_CLOCKS")
        if path:
            with open(path, "a") as file:
                file.write(json.dumps(spent) + "\n")
