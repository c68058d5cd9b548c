"""Profiles of WSGI requests: ``from rscalene.wsgi import ProfilerMiddleware`` in place of werkzeug's."""

from rscalene.web.wsgi import MergeStream, ProfilerMiddleware

__all__ = ["MergeStream", "ProfilerMiddleware"]
