"""Names of memory_profiler and line_profiler, so that a program changes its import and nothing else.

``from rscalene.compat.memory_profiler import profile`` prints memory_profiler's table at every return;
``from rscalene.compat.line_profiler import profile`` gathers, and prints line_profiler's tables at exit;
``from rscalene.compat import profile`` is memory_profiler's.
"""

from rscalene.compat.memory_profiler import memory_usage, profile

__all__ = ["memory_usage", "profile"]
