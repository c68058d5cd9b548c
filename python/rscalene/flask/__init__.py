"""Profiles of Flask's requests: ``from rscalene.flask import RScalene``; ``panel`` has the toolbar's panel."""

from rscalene.web.flask import RScalene

__all__ = ["RScalene"]
