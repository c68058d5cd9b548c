"""Starts the counting of queries under ``rscalene run --sql``, before the program's first line.

``rscalene run`` puts this folder first in ``PYTHONPATH``. So the interpreters of the program and of its children import
this module at their start. The module removes the folder from ``sys.path`` and runs the next ``sitecustomize``, if
there is one. If the hooks fail, the program still runs.
"""

import os
import sys


def _run_the_other(folder: str) -> None:
    """Run the ``sitecustomize`` that the interpreter would have imported without this folder."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != folder]
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _arm(folder: str) -> None:
    """Report queries to the launcher by the launcher's own package: this interpreter may have none installed."""
    if "RSCALENE_ARENA" not in os.environ or sys.version_info < (3, 11):
        return
    try:
        if "rscalene" not in sys.modules:
            from _frozen_importlib import module_from_spec
            from _frozen_importlib_external import PathFinder

            home = os.path.dirname(os.path.dirname(os.path.dirname(folder)))
            spec = PathFinder.find_spec("rscalene", [home])
            if spec is None or spec.loader is None:
                raise ImportError("rscalene is not in " + home)
            module = module_from_spec(spec)
            sys.modules["rscalene"] = module
            spec.loader.exec_module(module)
        from rscalene.sql.follow import follow

        follow()
    except Exception as error:
        sys.stderr.write("rscalene: cannot count queries in this process: " + repr(error) + "\n")


if __name__ == "sitecustomize":
    _folder = os.path.dirname(os.path.abspath(__file__))
    _arm(_folder)
    _run_the_other(_folder)
