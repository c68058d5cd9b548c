"""Profiles of single requests: what ``rscalene.wsgi``, ``asgi``, ``flask``, ``django`` and ``celery`` are made of.

``recording`` opens and ends a request, ``result`` holds what it cost, ``options`` decides what is recorded and where it
is written, ``select`` decides which requests, ``outputs`` writes, ``pages`` answers requests of ``/__rscalene/``.
"""
