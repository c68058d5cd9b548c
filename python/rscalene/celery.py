"""Profiles of Celery's tasks: ``rscalene.celery.instrument(app)``."""

from rscalene.web.celery import instrument

__all__ = ["instrument"]
