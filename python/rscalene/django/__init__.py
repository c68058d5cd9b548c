"""Profiles of Django's requests: ``MIDDLEWARE = ["rscalene.django.ProfilerMiddleware"]``; ``panel`` has the panel."""

from rscalene.web.django import ProfilerMiddleware

__all__ = ["ProfilerMiddleware"]
