"""Limits on what code may cost, for tests: ``limits`` (a block, a function) and ``pytest_plugin`` (marks, reports)."""
