"""Queries by line, on real drivers and real servers: `make test-sql` (not in `make test`)."""
