"""Profiles of single requests: what ``rscalene.wsgi``, ``asgi``, ``flask``, ``django`` and ``celery`` are made of.

``recording`` opens and ends a request, ``result`` is what it leaves, ``options`` says what is recorded and where it
goes, ``select`` decides which requests, ``outputs`` writes, ``pages`` answers ``/__rscalene/``.
"""
