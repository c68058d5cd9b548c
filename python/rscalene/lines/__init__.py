"""Exact line reports: ``@profile``, ``rscalene lines``, and the engine behind the magics and ``compat``.

``decorator`` makes a function report its lines, ``collector`` gathers many calls into one table, ``watch`` puts a
function under watch for a while, ``command`` is ``rscalene lines``. ``options`` and ``tables`` stand below them.
"""

from rscalene.lines.decorator import decorate, enabled, profile, swap_code
from rscalene.lines.options import Options, TableStream
from rscalene.lines.tables import render, source_of, write, write_or_show

__all__ = [
    "Options", "TableStream", "decorate", "enabled", "profile", "render", "source_of", "swap_code", "write",
    "write_or_show",
]  # fmt: skip
