"""rscalene: for every line of a Python program, where its time and its memory go.

Start with ``rscalene run app.py`` in a shell; ``rscalene --help`` lists the rest.
"""

from rscalene._rscalene import __version__
from rscalene.lines import profile

__all__ = ["__version__", "profile"]
