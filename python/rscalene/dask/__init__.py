"""Profiles of a Dask cluster's work, by line and by kind of task.

>>> with rscalene.dask.profile(client) as p:
...     client.gather(client.map(work, items))
>>> p.result().save("cluster.html")

Each worker profiles itself, and every task bears the label ``task=PREFIX``, the name that Dask's dashboard has for the
kind of task. rscalene must be installed on every worker. Under ``rscalene run`` the tasks are labelled in the run's own
profile.
"""

from rscalene.dask.client import collect, profile
from rscalene.dask.plugin import Plugin, dask_setup

__all__ = ["Plugin", "collect", "dask_setup", "profile"]
