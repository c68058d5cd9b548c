"""Runs a script with memory_profiler's ``@profile`` on every function that it defines: ``decorated.py OUT SCRIPT ...``.

memory_profiler has no way of its own to profile a whole script. The report goes to ``OUT``.
"""

import ast
import sys
from pathlib import Path

from memory_profiler import LineProfiler, show_results


class Decorate(ast.NodeTransformer):
    """Adds the decorator to every function, innermost: below those that it has."""

    def visit_FunctionDef(self, node):
        """Decorate a function and those inside it."""
        self.generic_visit(node)
        node.decorator_list.append(ast.Name("__profile__", ast.Load()))
        return node


if __name__ == "__main__":
    _, out, script, *words = sys.argv
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).resolve().parent))
    tree = ast.fix_missing_locations(Decorate().visit(ast.parse(Path(script).read_text())))
    profiler = LineProfiler(backend="psutil")
    scope = {"__name__": "__main__", "__file__": script, "__profile__": profiler}
    try:
        exec(compile(tree, script, "exec"), scope)
    finally:
        with open(out, "w") as stream:
            show_results(profiler, stream=stream, precision=6)
