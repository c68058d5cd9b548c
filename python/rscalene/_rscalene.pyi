"""The extension module."""

from typing import Final

__version__: Final[str]

def main(argv: list[str], executable: str) -> int:
    """Run one command line.

    ``argv`` starts with the name of the program, as ``sys.argv`` does; ``executable`` is the interpreter that runs
    Python programs unless ``--python`` names another one. Returns the exit code, 0 to 255.
    """
