"""Formats of a request's profile, chosen by the ending of a file's name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rscalene.web.result import RequestResult


def ending(name: str) -> str:
    """Return the ending that selects the format; ValueError if none does."""
    for known in (".speedscope.json", ".collapsed", ".pstats", ".prof", ".html", ".json", ".txt"):
        if name.endswith(known):
            return known
    raise ValueError(
        f"cannot tell a format from `{name}`\n"
        "hint: end it in .prof, .pstats, .html, .json, .txt, .speedscope.json or .collapsed"
    )


def encode(as_dict: Callable[[], dict[str, Any]], result: RequestResult, name: str) -> bytes:
    """Return the content of a file called ``name``."""
    kind = ending(name)
    if kind in (".prof", ".pstats"):
        return result.table.prof()
    if kind == ".txt":
        return result.text().encode()
    if kind == ".html":
        return result.html().encode()
    if kind == ".speedscope.json":
        return json.dumps(speedscope(as_dict()), separators=(",", ":")).encode()
    if kind == ".collapsed":
        return collapsed(as_dict()).encode()
    return result.json().encode()


def frame(node: dict[str, Any]) -> str:
    """Return the text of a function in a stack."""
    if node["file"] == "~":
        return str(node["function"])
    return f"{node['function']} ({node['file'].rpartition('/')[2]}:{node['line']})"


def stacks(data: dict[str, Any]) -> list[tuple[list[int], float]]:
    """Return each path of functions as indices of nodes, the outermost first, with its own seconds."""
    nodes = data["tree"]["nodes"]
    paths: list[list[int]] = []
    for index, node in enumerate(nodes):
        parent = node["parent"]
        paths.append([*([] if parent is None else paths[parent]), index])
    return [(path, nodes[path[-1]]["own_s"]) for path in paths]


def collapsed(data: dict[str, Any]) -> str:
    """Return stacks with microseconds, in the form that flame graph tools read."""
    nodes = data["tree"]["nodes"]
    out = []
    for path, own_s in stacks(data):
        micros = round(own_s * 1e6)
        if micros:
            out.append(";".join(frame(nodes[at]).replace(";", ",") for at in path) + f" {micros}")
    return "\n".join(out) + "\n"


def speedscope(data: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a speedscope file."""
    nodes = data["tree"]["nodes"]
    frames: dict[tuple[str, int, str], int] = {}
    shared = []
    of_node = []
    for node in nodes:
        key = (node["file"], node["line"], node["function"])
        if key not in frames:
            frames[key] = len(frames)
            shared.append({"name": node["function"], "file": node["file"], "line": node["line"]})
        of_node.append(frames[key])
    timed = [(path, own_s) for path, own_s in stacks(data) if own_s > 0]
    total = sum(own_s for _, own_s in timed)
    request = data["request"]
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": shared},
        "profiles": [
            {
                "type": "sampled",
                "name": f"{request['method']} {request['path']}".strip() or request["name"],
                "unit": "seconds",
                "startValue": 0,
                "endValue": total,
                "samples": [[of_node[at] for at in path] for path, _ in timed],
                "weights": [own_s for _, own_s in timed],
            }
        ],
        "exporter": "rscalene",
    }


def from_dict(data: dict[str, Any], kind: str) -> bytes:
    """Return the profile in the format ``kind``, from a request's JSON."""
    if kind == ".speedscope.json":
        return json.dumps(speedscope(data), separators=(",", ":")).encode()
    if kind == ".collapsed":
        return collapsed(data).encode()
    from rscalene._rscalene import CallTable

    table = CallTable.of_rows(
        [
            (
                one["file"],
                one["line"],
                one["function"],
                one["calls"],
                one["primitive_calls"],
                one["own_s"],
                one["total_s"],
            )
            for one in data["functions"]
        ]
    )
    return table.prof() if kind in (".prof", ".pstats") else table.text(["time", "calls"], []).encode()
