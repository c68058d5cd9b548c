"""``rscalene view FILE`` and ``rscalene diff A B`` for the files of requests; Rust code handles the files of runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rscalene.web import formats, page, text
from rscalene.web.result import FORMAT, VERSION, write_whole

COMMANDS = ("view", "diff")
EXIT_USAGE = 2


def is_request_command(argv: list[str]) -> bool:
    """Whether a command line names a file with the profile of a request."""
    return argv[:1] != [] and argv[0] in COMMANDS and any(is_request_file(name) for name in argv[1:])


def is_request_file(name: str) -> bool:
    """Whether a file begins like the profile of a request."""
    if not name.endswith(".json"):
        return False
    try:
        with open(name, "rb") as file:
            return file.read(64).startswith(b'{"format":"' + FORMAT.encode() + b'"')
    except OSError:
        return False


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog=f"rscalene {argv[0]}", description="Show the files of requests.")
    if argv[0] == "view":
        parser.add_argument("file", type=Path)
        parser.add_argument("-o", "--output", type=Path, help="the file to write; its ending picks the format")
        parser.add_argument("--html", action="store_true", help="write a page beside the file")
    else:
        parser.add_argument("before", type=Path)
        parser.add_argument("after", type=Path)
    args = parser.parse_args(argv[1:])
    try:
        if argv[0] == "diff":
            print(difference(read(args.before), read(args.after)), end="")
            return 0
        data = read(args.file)
        output = args.output or (args.file.with_suffix(".html") if args.html else None)
        if output is None:
            print(text.of_data(data), end="")
        else:
            kind = formats.ending(str(output))
            made = page.request_page(data).encode() if kind == ".html" else formats.from_dict(data, kind)
            write_whole(output, made)
            print(f"saved {output}", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"rscalene: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def read(path: Path) -> dict[str, Any]:
    """Read the profile of a request; ValueError for another file, or for a later version."""
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"cannot read `{path}`: {error}\nhint: it is no whole JSON file") from None
    if data.get("format") != FORMAT:
        raise ValueError(f"cannot read `{path}`: it is no file of a request\nhint: compare two files of the same kind")
    if data.get("version", 0) > VERSION:
        raise ValueError(
            f"cannot read `{path}`: it was written in version {data['version']}, this build reads up to {VERSION}\n"
            "hint: `pip install -U rscalene`"
        )
    return data


def difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return a table of the changes by line, the largest change of time first."""
    places: dict[tuple[str, int], list[dict[str, Any] | None]] = {}
    for side, data in enumerate((before, after)):
        for row in data["lines"]:
            places.setdefault((row["file"], row["line"]), [None, None])[side] = row
    changes = []
    for (file, line), (old, new) in places.items():
        times = [row["time_s"] if row else 0.0 for row in (old, new)]
        hits = [row["hits"] if row else 0 for row in (old, new)]
        source = ((new or old) or {}).get("source") or ""
        changes.append((times[1] - times[0], times, hits, f"{text.short(file)}:{line}  {source}".rstrip()))
    changes.sort(key=lambda change: -abs(change[0]))
    out = [
        f"{text.heading_of(before)}\n{text.heading_of(after)}",
        f"{'Before ms':>10} {'After ms':>10} {'Change ms':>10} {'Hits':>9} {'Then':>9}  Line",
    ]
    for change, times, hits, where in changes[:40]:
        out.append(
            f"{times[0] * 1e3:10.3f} {times[1] * 1e3:10.3f} {change * 1e3:+10.3f} {hits[0]:9d} {hits[1]:9d}  {where}"
        )
    return "\n".join(out) + "\n"
