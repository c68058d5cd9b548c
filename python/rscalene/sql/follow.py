"""``rscalene run --sql``: reports every query of this process to the launcher, with the line that ran the query."""

from __future__ import annotations

import atexit

from rscalene._rscalene import sql_follow, sql_settle
from rscalene.sql.arm import arm

__all__ = ["follow"]


def follow() -> bool:
    """Report every query of this process to the launcher from now on; return whether there is a launcher.

    Called when the interpreter starts, before any driver is loaded: each driver is hooked when the program imports it.
    """
    if not sql_follow():
        return False
    arm(early=True)
    # At the program's end, report rows and time of statements with rows left to fetch.
    atexit.register(sql_settle)
    return True
