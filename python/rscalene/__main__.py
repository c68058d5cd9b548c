"""The command line: ``rscalene ...`` and ``python -m rscalene ...``.

Rust does the work; this file passes on the arguments and the path of the running interpreter.
"""

import sys

from rscalene import _rscalene


def main() -> int:
    """Run the command line in ``sys.argv`` and return its exit code (0 to 255)."""
    if sys.argv[1:2] == ["lines"]:
        # It runs the program in this very interpreter.
        from rscalene.lines import command

        return command.main(sys.argv[2:])
    if sys.argv[1:2] in (["view"], ["diff"]) and any(word.endswith(".json") for word in sys.argv[2:]):
        # The files of requests are made and shown in Python.
        from rscalene.web import command as requests

        if requests.is_request_command(sys.argv[1:]):
            return requests.main(sys.argv[1:])
    return _rscalene.main(sys.argv, sys.executable)


if __name__ == "__main__":
    sys.exit(main())
