"""``rscalene run --sql``: every query of this process goes to the launcher, by the line that asked."""

from __future__ import annotations

import atexit

from rscalene._rscalene import sql_follow, sql_settle
from rscalene.sql.arm import arm

__all__ = ["follow"]


def follow() -> bool:
    """Say every query of this process to the launcher from now on; return whether there is one.

    Called on the start of the interpreter, before any driver is loaded: each is hooked as the program imports it.
    """
    if not sql_follow():
        return False
    arm(early=True)
    # Rows and time of statements that are not fetched to their end.
    atexit.register(sql_settle)
    return True
