"""Profiles of single requests, for ``rscalene.wsgi``, ``asgi``, ``flask``, ``django`` and ``celery``.

``recording`` opens and ends a request, ``result`` holds the cost of a request, ``options`` checks the parameters,
``select`` selects requests, ``outputs`` writes results, ``pages`` answers requests of ``/__rscalene/``.
"""
