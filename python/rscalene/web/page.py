"""The page of a request, and the index: complete HTML files without scripts or external parts, every text escaped."""

from __future__ import annotations

import hashlib
import statistics
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any

from rscalene._rscalene import page_style

if TYPE_CHECKING:
    from collections.abc import Iterable

# Rules that only these pages have, in addition to the report's style.
STYLE = """
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.panel{overflow-x:auto;margin-bottom:14px}
.panel table{border-collapse:collapse;width:100%}
.panel th{font-weight:600;color:var(--ink2);text-align:right;padding:3px 10px}
.panel th{border-bottom:1px solid var(--line2);white-space:nowrap}
.panel td{padding:2px 10px;border-bottom:1px solid var(--line);vertical-align:top}
.panel th.l,.panel td.l{text-align:left}
.panel td code{white-space:pre-wrap;overflow-wrap:anywhere}
.place{color:var(--ink2);white-space:nowrap}
.markword{background:var(--mark);border-radius:4px;padding:0 6px;font-weight:600}
svg{display:block;width:100%}
svg text{font:11px var(--mono);fill:var(--ink)}
.bar-app{fill:var(--py)}.bar-body{fill:var(--al)}.bar-after{fill:var(--na)}.bar-sql{fill:var(--sy)}.bar-track{fill:var(--line)}
.f0{fill:color-mix(in srgb,var(--py) 45%,var(--card))}.f1{fill:color-mix(in srgb,var(--na) 45%,var(--card))}
.f0,.f1{stroke:var(--card);stroke-width:.5}
form{display:inline}
"""
# Smallest share of the width at which a node of the flame graph is drawn.
NARROWEST = 0.001
WIDTH = 1200
ROW = 18


def style() -> str:
    """Return the style of the report, and the rules of these pages."""
    return page_style() + STYLE


def policy() -> str:
    """Return the Content-Security-Policy: it allows only the page's style sheet, by its hash."""
    digest = b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def document(title: str, body: str) -> str:
    """Return a complete page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy().split("; frame")[0])}">'
        f"<title>{escape(title)}</title><style>{style()}</style></head><body>"
        f'<header class="top"><span class="brand">rscalene</span><h1>{escape(title)}</h1></header>'
        f"<main>{body}</main></body></html>\n"
    )


def ms(seconds: float | None) -> str:
    """Return the milliseconds as text."""
    return "" if seconds is None else f"{seconds * 1e3:,.3f}"


def table(heads: Iterable[tuple[str, bool]], rows: Iterable[Iterable[str]]) -> str:
    """Return a table. Each head is a title and whether its column is text."""
    heads = list(heads)
    out = ["<table><thead><tr>"]
    out += [f'<th scope="col"{" class=l" if text else ""}>{escape(name)}</th>' for name, text in heads]
    out.append("</tr></thead><tbody>")
    for row in rows:
        cells = zip(row, heads, strict=True)
        out.append(
            "<tr>" + "".join(f'<td class="{"l" if text else "num"}">{cell}</td>' for cell, (_, text) in cells) + "</tr>"
        )
    out.append("</tbody></table>")
    return "".join(out)


def panel(title: str, body: str) -> str:
    """Return a panel of a page."""
    return f'<section class="panel"><h3>{escape(title)}</h3>{body}</section>'


def place(file: str, line: int) -> str:
    """Return the place of a line as HTML."""
    short = "/".join(file.split("/")[-2:])
    return f'<span class="place" title="{escape(file)}">{escape(short)}:{line}</span>'


def request_page(data: dict[str, Any]) -> str:
    """Return the page of a request, made from its JSON."""
    request = data["request"]
    what = f"{request['method']} {request['path']}".strip() or str(request["name"]) or "request"
    facts = {
        "status": request["status"], "route": request["route"], "raised": request["error"],
        "time": f"{request['elapsed_s'] * 1e3:.1f} ms", "cpu": f"{data['cpu']['cpu_s'] * 1e3:.1f} ms",
        "first byte": f"{request['first_byte_s'] * 1e3:.1f} ms" if request["first_byte_s"] is not None else None,
        "bytes": request["bytes_out"], "pid": request["pid"], "thread": request["thread"],
        "first of its path": "yes" if request["cold"] else None,
        "beside others": "yes" if request["overlapped"] else None,
        "functions": "cut" if request.get("cut") else None,
    }  # fmt: skip
    facts |= {str(key): str(value) for key, value in (request.get("notes") or {}).items()}
    body = ['<div class="facts">']
    body += [
        f"<span>{escape(key)} <b>{escape(str(value))}</b></span>" for key, value in facts.items() if value is not None
    ]
    body.append("</div>")
    if data["notices"]:
        body.append('<ul class="notices">' + "".join(f"<li>{escape(one)}</li>" for one in data["notices"]) + "</ul>")
    body.append(panel("Time", waterfall(data)))
    if data["lines"]:
        body.append(panel("Lines", lines_table(data)))
    if data["sql"] and data["sql"]["statements"]:
        body.append(panel("SQL", sql_table(data["sql"]["statements"])))
    if data["tree"]["nodes"]:
        body.append(panel("Flame graph: exact, by time", flame(data["tree"]["nodes"])))
    if data["functions"]:
        body.append(panel("Functions", functions_table(data["functions"])))
    return document(what, "".join(body))


def waterfall(data: dict[str, Any]) -> str:
    """Return a bar of the times: until the first byte, sending the body, after the response; SQL below."""
    request = data["request"]
    total = max(request["elapsed_s"], 1e-9)
    first = min(request["first_byte_s"] if request["first_byte_s"] is not None else total, total)
    after = request.get("after_response_s") or 0.0
    parts = [("app", 0.0, first), ("body", first, total - after), ("after", total - after, total)]
    out = [f'<svg viewBox="0 0 {WIDTH} 44" role="img" aria-label="when what ran">']
    out.append(f'<rect class="bar-track" x="0" y="18" width="{WIDTH}" height="14" rx="3"/>')
    for name, begins, ends in parts:
        width = (ends - begins) / total * WIDTH
        if width > 0.5:
            x = begins / total * WIDTH
            label = f"{name} {(ends - begins) * 1e3:.1f} ms"
            out.append(
                f'<rect class="bar-{name}" x="{x:.1f}" y="18" width="{width:.1f}" height="14" rx="3">'
                f"<title>{label}</title></rect>"
            )
            if width > 90:
                out.append(f'<text x="{x + 2:.1f}" y="12">{label}</text>')
    sql = data["sql"]["time_s"] if data["sql"] else 0.0
    if sql:
        out.append(
            f'<rect class="bar-sql" x="0" y="36" width="{min(sql / total, 1) * WIDTH:.1f}" height="6" rx="3">'
            f"<title>SQL {sql * 1e3:.1f} ms</title></rect>"
        )
    out.append("</svg>")
    return "".join(out)


def lines_table(data: dict[str, Any], most: int = 200) -> str:
    """Return a table of the lines, the most time first."""
    rows = sorted(data["lines"], key=lambda row: -row["time_s"])
    waits = any(row["await_s"] for row in rows)
    counted = any(row["net_bytes"] is not None for row in rows)
    queried = any("sql_count" in row for row in rows)
    built = any("sql_build_s" in row for row in rows)
    heads = [("Time ms", False), ("Own ms", False), ("Hits", False)]
    heads += [("Await ms", False)] if waits else []
    heads += [("Net bytes", False), ("Peak bytes", False)] if counted else []
    heads += [("SQL", False), ("SQL ms", False), ("Rows", False)] if queried else []
    heads += [("Build ms", False)] if queried and built else []
    heads += [("Line", True), ("Source", True)]
    cells = []
    for row in rows[:most]:
        one = [ms(row["time_s"]), ms(row["own_s"]), f"{row['hits']:,}"]
        one += [ms(row["await_s"])] if waits else []
        one += [f"{row['net_bytes'] or 0:,}", f"{row['peak_bytes'] or 0:,}"] if counted else []
        if queried:
            has = "sql_count" in row
            one += [
                f"{row['sql_count']:,}" if has else "",
                ms(row["sql_s"]) if has else "",
                str(row["rows"]) if has and row["rows"] is not None else "",
            ]
            one += [ms(row["sql_build_s"]) if "sql_build_s" in row else ""] if built else []
        mark = f' <span class="markword">{escape(row["mark"])}</span>' if row.get("mark") else ""
        one += [place(row["file"], row["line"]), f"<code>{escape(row['source'] or '')}</code>{mark}"]
        cells.append(one)
    rest = f"<p>{len(rows) - most} more lines are in the JSON.</p>" if len(rows) > most else ""
    return table(heads, cells) + rest


def sql_table(statements: list[dict[str, Any]]) -> str:
    """Return a table of the statements."""
    heads = [
        ("Count", False),
        ("Total ms", False),
        ("Longest ms", False),
        ("Rows", False),
        ("Line", True),
        ("Statement", True),
    ]
    cells = []
    for one in statements:
        mark = f' <span class="markword">{escape(str(one["mark"]))}</span>' if one.get("mark") else ""
        cells.append(
            [str(one.get("count") or 0), ms(one.get("time_s")), ms(one.get("longest_s")), str(one.get("rows") or ""),
             place(str(one.get("file") or ""), int(one.get("line") or 0)),
             f"<code>{escape(str(one.get('statement') or ''))}</code>{mark}"]
        )  # fmt: skip
    return table(heads, cells)


def functions_table(functions: list[dict[str, Any]], most: int = 300) -> str:
    """Return a table of the functions, the most own time first."""
    heads = [("Calls", False), ("Own ms", False), ("Total ms", False), ("Function", True), ("Line", True)]
    cells = []
    for one in functions[:most]:
        calls = (
            f"{one['calls']:,}"
            if one["calls"] == one["primitive_calls"]
            else f"{one['calls']:,}/{one['primitive_calls']:,}"
        )
        where = "" if one["file"] == "~" else place(one["file"], one["line"])
        cells.append([calls, ms(one["own_s"]), ms(one["total_s"]), f"<code>{escape(one['function'])}</code>", where])
    rest = f"<p>{len(functions) - most} more functions are in the JSON.</p>" if len(functions) > most else ""
    return table(heads, cells) + rest


def flame(nodes: list[dict[str, Any]]) -> str:
    """Return the call tree as a flame graph, the outermost calls on top."""
    totals = [node["own_s"] for node in nodes]
    children: dict[int | None, list[int]] = {}
    for index in range(len(nodes) - 1, -1, -1):
        parent = nodes[index]["parent"]
        children.setdefault(parent, []).insert(0, index)
        if parent is not None:
            totals[parent] += totals[index]
    whole = sum(totals[index] for index in children.get(None, []))
    if whole <= 0:
        return "<p>no time was recorded</p>"
    drawn: list[str] = []
    deepest = 0
    pending = [(index, 0.0, 0) for index in reversed(children.get(None, []))]
    x = 0.0
    starts: list[tuple[int, float, int]] = []
    for index, _, depth in reversed(pending):
        starts.append((index, x, depth))
        x += totals[index] / whole
    while starts:
        index, left, depth = starts.pop()
        share = totals[index] / whole
        if share < NARROWEST or depth > 120:
            continue
        deepest = max(deepest, depth)
        node = nodes[index]
        name = str(node["function"])
        where = "" if node["file"] == "~" else f" {node['file']}:{node['line']}"
        title = f"{name}{where}\n{totals[index] * 1e3:.3f} ms, own {node['own_s'] * 1e3:.3f} ms, {node['calls']} calls"
        kind = "f1" if node["file"] == "~" else "f0"
        width, px, py = share * WIDTH, left * WIDTH, depth * ROW
        drawn.append(
            f"<g><title>{escape(title)}</title>"
            f'<rect class="{kind}" x="{px:.1f}" y="{py}" width="{width:.1f}" height="{ROW - 1}"/>'
        )
        letters = int(width / 7)
        if letters > 3:
            shown = name if len(name) <= letters else name[: letters - 1] + "…"
            drawn.append(f'<text x="{px + 3:.1f}" y="{py + 12}">{escape(shown)}</text>')
        drawn.append("</g>")
        at = left
        for child in children.get(index, []):
            starts.append((child, at, depth + 1))
            at += totals[child] / whole
    height = (deepest + 1) * ROW
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="flame graph">{"".join(drawn)}</svg>'


def index_page(kept: list[dict[str, Any]], *, form: str, notices: list[str]) -> str:
    """Return the index: routes, and the newest requests. ``form`` is the token that `clear` requires."""
    routes: dict[str, list[dict[str, Any]]] = {}
    for one in kept:
        request = one["request"]
        routes.setdefault(f"{request['method']} {request['route'] or request['path']}", []).append(one)
    cells = []
    for name, members in sorted(routes.items(), key=lambda item: -sum(one["request"]["elapsed_s"] for one in item[1])):
        times = sorted(one["request"]["elapsed_s"] for one in members)
        marks = sum(
            1 for one in members for statement in (one["sql"] or {}).get("statements", []) if statement.get("mark")
        )
        queries = [one["sql"]["queries"] for one in members if one["sql"]]
        cells.append(
            [f"<code>{escape(name)}</code>", str(len(members)), ms(statistics.median(times)),
             ms(times[min(len(times) - 1, int(len(times) * 0.95))]),
             ms(statistics.mean(one["cpu"]["cpu_s"] for one in members)),
             f"{statistics.mean(queries):.1f}" if queries else "", str(marks or "")]
        )  # fmt: skip
    heads = [("Route", True), ("Count", False), ("Median ms", False), ("95 % ms", False), ("CPU ms", False)]
    heads += [("SQL", False), ("N+1", False)]
    newest = []
    for one in kept[:200]:
        request = one["request"]
        link = f'<a href="r/{escape(request["id"])}">{escape(request["method"])} {escape(request["path"])}</a>'
        newest.append(
            [link, str(request["status"] or ""), escape(request["error"] or ""), ms(request["elapsed_s"]),
             ms(one["cpu"]["cpu_s"]), str(one["sql"]["queries"]) if one["sql"] else "", str(request["pid"])]
        )  # fmt: skip
    newest_heads = [("Request", True), ("Status", False), ("Raised", True), ("Time ms", False), ("CPU ms", False),
                    ("SQL", False), ("Pid", False)]  # fmt: skip
    items = "".join(f"<li>{escape(one)}</li>" for one in notices)
    body = f'<ul class="notices">{items}</ul>' if items else ""
    body += panel("Routes", table(heads, cells))
    body += panel("Newest requests", table(newest_heads, newest))
    body += (
        f'<form method="post" action="clear"><input type="hidden" name="form" value="{escape(form)}">'
        "<button>Forget these requests</button></form>"
    )
    return document("Requests", body)
