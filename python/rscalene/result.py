"""``Result``: a profile to look at, to compute with and to keep.

A notebook's output below a cell comes from the same reports as the command line's; nothing in the output is active
(no script, no frame, no address of a server), so a stored notebook shows it too.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import webbrowser
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from rscalene._rscalene import DiffData, MergeData, ProfileData

__all__ = ["Diff", "Result", "load", "merge"]

#: The profile inside of a notebook's output; larger profiles are left out.
MIMETYPE = "application/vnd.rscalene.v1+json"
_MIMETYPE_BYTES = 2_000_000


def load(path: str | os.PathLike[str]) -> Result:
    """Read a profile written by ``rscalene run -o FILE.json``, :meth:`Result.save` or :meth:`Profiler.save`.

    :raises OSError: when the file cannot be read (``FileNotFoundError`` and so on).
    :raises ValueError: if the file is no profile, is cut off, or has a newer major version of the format.
    """
    return Result(ProfileData.read(os.fspath(path)))


def merge(profiles: Iterable[Result | str | os.PathLike[str] | bytes], *, by: str | None = None) -> Result:
    """Make one profile of many: those of the ranks of a job, of machines, of tasks.

    The result is the same to the byte in whatever order the profiles come, and may be merged again. Seconds, bytes and
    counts are sums; figures at a peak are those of the run with the highest peak; errors combine as roots of sums of
    squares. ``result.to_dict()["merge"]`` has the runs and the spread of each line over them.

    :param profiles: results, paths of saved profiles, or JSON as ``bytes`` or as text that begins with ``{``. One at a
        time is in memory. A profile that is given twice counts once; one that cannot be read is left out, and a notice
        with the code ``not_merged`` names it.
    :param by: what the spread compares: ``rank``, ``host``, ``process`` or ``label``; the default is ranks if a run has
        one, else hosts if there are several, else processes.
    :raises ValueError: when no profile could be read, or for another ``by``.
    """
    data, skipped = MergeData(), []
    for number, profile in enumerate(profiles, 1):
        why = _add(data, f"profile {number}", profile)
        skipped += [why] if why else []
    if data.runs() == 0:
        raise ValueError("\n".join(skipped) or "cannot merge: there is no profile")
    return Result(data.finish(by))


def _add(data: MergeData, name: str, profile: Result | str | os.PathLike[str] | bytes) -> str | None:
    if isinstance(profile, Result):
        return data.add(name, profile._data)
    if isinstance(profile, bytes):
        return data.add_json(name, profile)
    if isinstance(profile, str) and profile.lstrip().startswith("{"):
        return data.add_json(name, profile.encode())
    return data.add_file(os.fspath(profile))


class _Report(ABC):
    """The common ways to show results and differences."""

    @abstractmethod
    def to_text(self, *, unicode: bool = True, color: bool = False, width: int = 120, top: int = 10) -> str:
        """Return the table."""

    @abstractmethod
    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the page, and write the page to ``path`` if given."""

    def __str__(self) -> str:
        return self.to_text()

    def open(self) -> str:
        """Open the page in a browser; return the path of the temporary file, which is readable by the user alone.

        The environment variable ``BROWSER`` names the program to use, as in the standard library.

        :raises RuntimeError: when no browser was found. The file is there all the same.
        """
        handle, name = tempfile.mkstemp(prefix="rscalene-", suffix=".html")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(self.to_html())
        if not webbrowser.open(Path(name).as_uri()):
            raise RuntimeError(f"cannot open a browser: none was found\nhint: open `{name}` yourself, or set BROWSER")
        return name


class Result(_Report):
    """A profile. Made by :func:`load`, by ``Profiler.result()`` and by the notebook's magics."""

    def __init__(self, data: ProfileData, *, top: int = 10, sort: str = "cpu") -> None:
        """Hold ``data``.

        :param top: length of the lists shown.
        :param sort: their order: ``cpu``, ``python``, ``native``, ``system``, ``wait``, ``alloc``, ``live``, ``peak``,
            ``increment``, ``copy``, ``line`` or ``name``.
        """
        self._data = data
        self._dict: dict[str, Any] | None = None
        self._top, self._sort = top, sort
        if sort not in ProfileData.SORT_KEYS:
            raise ValueError(f"sort must be one of {', '.join(ProfileData.SORT_KEYS)}, not {sort!r}")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Make a result from a profile's JSON; ValueError for other text."""
        return cls(ProfileData.parse("the text", text.encode() if isinstance(text, str) else text))

    def to_json(self, *, pretty: bool = False) -> str:
        """Return the profile as JSON, format 1, as ``rscalene run -o FILE.json`` does."""
        return self._data.json(pretty)

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as the JSON's objects; the caller may change them."""
        profile: dict[str, Any] = json.loads(self._data.json(False))
        return profile

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines with a figure, as records: ``file`` and the JSON's keys of a line. Unknown figures are ``None``."""
        return [{"file": file["path"], **line} for file in self._known()["files"] for line in file["lines"]]

    @property
    def functions(self) -> list[dict[str, Any]]:
        """All functions with a figure, as records: ``file`` and the JSON's keys of a function."""
        return [{"file": file["path"], **function} for file in self._known()["files"] for function in file["functions"]]

    @property
    def totals(self) -> dict[str, Any]:
        """The sums over the run: the JSON's ``totals``."""
        return dict(self._known()["totals"])

    @property
    def notices(self) -> list[dict[str, Any]]:
        """Messages about the run, as records: ``code``, ``process`` (an id or ``None``: the whole run) and ``text``."""
        return [dict(notice) for notice in self._known()["notices"]]

    def to_dataframe(self, library: str | None = None) -> Any:
        """Return the lines as a data frame: a row a line, the columns are ``file`` and the JSON's keys.

        Columns of lists (native symbols, shares of threads and processes) are left out.

        :param library: ``"pandas"`` or ``"polars"``; the default is the library already imported, else pandas if
            installed, else polars.
        :raises ImportError: when there is neither.
        :raises ValueError: for another library.
        """
        return _frame(self.lines, _LINE_KEYS, library)

    def diff(self, other: Result) -> Diff:
        """Return the changes from this profile to ``other``, the later profile."""
        return Diff(self._data.diff(other._data))

    def to_text(self, *, unicode: bool = True, color: bool = False, width: int = 120, top: int | None = None) -> str:
        """Return the table of ``rscalene view``.

        :param unicode: draw with Unicode, or else with ASCII.
        :param color: with terminal colours.
        :param width: display cells of a line, at least 40.
        :param top: length of the lists of lines and functions.
        """
        return self._data.text(unicode, color, width, self._sort, self._top if top is None else top)

    def to_markdown(self, *, top: int | None = None) -> str:
        """Return the hottest lines as a table in Markdown."""
        return self._data.markdown(self._sort, self._top if top is None else top)

    def to_html(self, path: str | os.PathLike[str] | None = None, *, source: bool = True) -> str:
        """Return the whole page as a self-contained file, and write the page to ``path`` if given.

        :param source: include source text; ``False`` leaves source out.
        :raises OSError: when ``path`` cannot be written.
        """
        return _written(self._data.html(source), path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile, whole or not at all, readable by the user alone; the ending picks the format.

        ``.json``, ``.html``, ``.txt``, ``.collapsed`` (flame graph tools), ``.speedscope.json``, ``.pstats``.

        :raises ValueError: for another ending.
        :raises OSError: when the file cannot be written.
        """
        self._data.save(os.fspath(path))

    def __repr__(self) -> str:
        """Return a summary of the run in a single line."""
        return f"<rscalene.Result {self._data.summary().removeprefix('rscalene: ')}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as JSON."""
        return (type(self).from_json, (self.to_json(),))

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, Any]:
        bundle: dict[str, Any] = {
            "text/plain": self.to_text(width=100),
            "text/html": self._data.fragment(self._sort, self._top),
            "text/markdown": self.to_markdown(),
        }
        text = self.to_json()
        if len(text) <= _MIMETYPE_BYTES:
            bundle[MIMETYPE] = json.loads(text)
        return _asked_for(bundle, include, exclude)

    def _known(self) -> dict[str, Any]:
        if self._dict is None:
            self._dict = self.to_dict()
        return self._dict


class Diff(_Report):
    """The changes between two profiles, and which of them may be chance. Made by :meth:`Result.diff`."""

    def __init__(self, data: DiffData) -> None:
        """Hold ``data``."""
        self._data = data

    def to_json(self) -> str:
        """Return all figures as JSON."""
        return self._data.json()

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as the JSON's objects."""
        found: dict[str, Any] = json.loads(self._data.json())
        return found

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines of either profile, largest difference first.

        Each has ``path``, ``before_line``, ``after_line`` (``None`` if the line is not in this profile), ``function``,
        ``source`` and its figures (``cpu_s``, ``wait_s``, ``alloc_bytes``, ``live_bytes``, ``peak_bytes``), each of
        which has ``before``, ``after``, ``delta``, ``se`` and ``noise``.
        """
        return list(self.to_dict()["lines"])

    @property
    def functions(self) -> list[dict[str, Any]]:
        """All functions of either profile, largest difference first."""
        return list(self.to_dict()["functions"])

    def to_dataframe(self, library: str | None = None) -> Any:
        """Return the lines as :meth:`Result.to_dataframe` does, with columns such as ``cpu_s_delta``."""
        rows = [_flat(line) for line in self.lines]
        return _frame(rows, list(rows[0]) if rows else [], library)

    def to_text(self, *, unicode: bool = True, color: bool = False, width: int = 120, top: int = 20) -> str:
        """Return the table of ``rscalene diff``, with the parameters of :meth:`Result.to_text`."""
        return self._data.text(unicode, color, width, top)

    def to_markdown(self, *, top: int = 20) -> str:
        """Return the totals and the changed lines as tables in Markdown."""
        return self._data.markdown(top)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a self-contained page, and write the page to ``path`` if given."""
        return _written(self._data.html(), path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save as ``.json``, ``.html`` or ``.txt``, whole or not at all; ValueError for another ending."""
        self._data.save(os.fspath(path))

    def __repr__(self) -> str:
        """Return the table."""
        return self.to_text()

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, Any]:
        bundle: dict[str, Any] = {
            "text/plain": self.to_text(width=100),
            "text/html": self._data.fragment(20),
            "text/markdown": self.to_markdown(),
        }
        return _asked_for(bundle, include, exclude)


def _asked_for(bundle: dict[str, Any], include: Iterable[str] | None, exclude: Iterable[str] | None) -> dict[str, Any]:
    wanted = set(bundle) if include is None else set(include)
    return {key: value for key, value in bundle.items() if key in wanted.difference(exclude or ())}


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


#: Keys of a line with a single value, in the order of the JSON.
_LINE_KEYS = [
    "file", "line", "function", "source",
    "python_s", "native_s", "system_s", "wait_s", "gil_wait_s", "idle_s", "helpers_s", "gc_s",
    "cpu_samples", "cpu_s_se",
    *ProfileData.MEMORY_KEYS,
    "sql_count", "sql_s", "sql_rows", "sql_mark", "sql_build_s",
]  # fmt: skip


def _frame(rows: list[dict[str, Any]], keys: list[str], library: str | None) -> Any:
    columns = {key: [row.get(key) for row in rows] for key in keys}
    known = ("pandas", "polars")
    if library is not None and library not in known:
        raise ValueError(f"library must be 'pandas' or 'polars', not {library!r}")
    names = (library,) if library else (*(name for name in known if name in sys.modules), *known)
    for name in names:
        try:
            module: Any = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        return module.DataFrame(columns) if name == "pandas" else module.DataFrame(columns, strict=False)
    raise ImportError(f"cannot make a data frame: {' and '.join(names)} cannot be found\nhint: pip install {names[0]}")


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in line.items():
        if isinstance(value, dict):
            row.update({f"{key}_{part}": figure for part, figure in value.items()})
        else:
            row[key] = value
    return row
