"""Dask and Spark, pools and queues under the profiler: `make test-clusters` (not in `make test`)."""
