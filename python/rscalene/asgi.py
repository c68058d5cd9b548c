"""Profiles of ASGI requests: ``app.add_middleware(rscalene.asgi.ProfilerMiddleware, when="?profile")``."""

from rscalene.web.asgi import ProfilerMiddleware

__all__ = ["ProfilerMiddleware"]
