"""The extension module."""

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import CodeType, FrameType
from typing import Any, ClassVar, Final, Self, final

__all__ = [
    "Build", "ByteCount", "Call", "CallTable", "DiffData", "Drive", "Ledger", "LineOutcome", "LineTable",
    "MergeData", "ProfileData", "Push", "Request", "RssSampler", "Sampler", "Stretch", "__version__",
    "current_request", "instrumented", "label_ended", "label_enter", "label_exit", "label_number", "label_pairs",
    "labels_followed", "main", "page_style", "request_scope", "requests_refused", "sql_arm", "sql_begin",
    "sql_build_begin", "sql_counts", "sql_follow", "sql_settle", "sql_variable", "watch",
]  # fmt: skip

__version__: Final[str]

def main(argv: list[str], executable: str) -> int:
    """Run one command line.

    ``argv`` starts with the name of the program, as ``sys.argv`` does; ``executable`` is the interpreter that runs
    Python programs unless ``--python`` names another one. Returns the exit code, 0 to 255.
    """

def sql_arm(
    *, libraries: list[str], script: str | None, cwd: str, include: list[str] = ..., sqlite: bool = True
) -> bool:
    """Prepare this process to count queries; return whether sqlite's statements are seen inside of ``_sqlite3``.

    ``libraries`` are folders whose lines are not the user's, ``script`` and the globs ``include`` are in any case.
    ValueError for a glob that is none.
    """

def sql_variable() -> ContextVar[object]:
    """Return the variable whose value is the current :class:`Ledger`, a :class:`Call`, or ``None``."""

def sql_follow() -> bool:
    """Say every execution of this process to the launcher that profiles it; return whether there is one."""

def sql_settle() -> None:
    """Say what has passed of executions that have not ended."""

def sql_begin(
    sql: Any, params: Any = None, strings: bool = False, frame: FrameType | None = None, by: str = ""
) -> Call | None:
    """Begin an execution on this line, or return ``None`` where it is counted elsewhere or nowhere.

    With ``strings`` double quotes in ``sql`` hold strings. With ``by="redis"`` it is the name of a command. The user's
    lines are taken from ``frame`` where this thread runs libraries alone.
    """

def sql_counts() -> bool:
    """Return whether an execution that begins here would count."""

def sql_build_begin() -> Build | None:
    """Begin a call into an ORM, or return ``None`` inside of another one and where nothing counts."""

@final
class Build:
    """A call into an ORM: its time beside the driver's is the line's."""

    def end(self, frame: FrameType | None = None) -> None:
        """End it; the line is that of ``frame`` where this thread's own frames are all of libraries."""

@final
class Call:
    """One execution that was begun."""

    def end(self, rows: int = -1) -> None:
        """End it; ``rows`` below 0 are unknown."""

    def fail(self) -> None:
        """End it: it failed."""

    def abandon(self) -> None:
        """End it, if that has not been done: nobody will say how it ended."""

    def add_rows(self, rows: int) -> None:
        """Count more rows, after the end."""

    def run(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` as a part of this execution, on any thread."""

@final
class Ledger:
    """Executions of statements, in one request, test or block; :class:`rscalene.sql.Queries` is its face."""

    def __new__(cls, outer: Ledger | None = None) -> Self:
        """Make an empty ledger; what is counted in it is counted in ``outer`` too."""

    def enter(self) -> Token[object]:
        """Count what runs in this context from now on; return what :meth:`leave` wants."""

    def leave(self, token: Token[object]) -> None:
        """Stop counting."""

    def count_the_process(self, on: bool) -> None:
        """Count all executions of this process, whatever other ledgers count."""

    @property
    def outer(self) -> Ledger | None:
        """The ledger around this one."""
    @property
    def queries(self) -> int:
        """Executions that are neither words of transactions nor calls of another kind."""
    @property
    def executions(self) -> int:
        """All executions."""
    @property
    def folded(self) -> int:
        """Executions that are counted without a line, for want of room."""

    def entries(
        self,
    ) -> list[tuple[list[tuple[str, int, str]], str, bool, int, int, int, int | None, int, int]]:
        """Return (places, statement, transaction, count, ns, longest_ns, rows, errors, first) of all entries.

        Places are (file, line, function), innermost first.
        """

    def builds(self) -> list[tuple[list[tuple[str, int, str]], int]]:
        """Return (places, ns) of ORMs, beside the drivers. Places as in :meth:`entries`."""

    def findings(
        self, threshold: int
    ) -> list[tuple[tuple[str, int, str] | None, str, int, bool, tuple[tuple[str, int, str], str, int] | None, int]]:
        """Return (place, statement, count, parameters differ, cause, first) of what ran ``threshold`` times."""

    def log(self) -> list[tuple[int, int]]:
        """Return (index of the entry, nanoseconds) of the executions, in order."""

@final
class LineTable:
    """The lines of one decorated function: what to watch, and whom to tell when a call has ended."""

    def __new__(
        cls,
        filename: str,
        name: str,
        first_line: int,
        lines: int,
        *,
        memory: str | None,
        own: bool,
        driven: bool,
        on_end: Callable[[LineOutcome], None],
    ) -> Self:
        """Describe a function of ``lines`` lines.

        ``memory`` is ``None``, ``"exact"`` or ``"rss"``; ``own`` measures callees' time; a ``driven`` table counts only
        inside the steps of a :class:`Drive`; ``on_end`` gets the outcome of each outermost call.
        """

    def unused(self) -> LineOutcome:
        """Return the outcome of no call at all."""

def instrumented(table: LineTable, code: CodeType) -> CodeType:
    """Return a copy of ``code`` that reports its calls, or ``code`` where the interpreter reports them."""

def watch(table: LineTable, codes: list[CodeType]) -> None:
    """Watch these code objects, the function's own first, for the rest of the process' life."""

@final
class LineOutcome:
    """What one call of a profiled function (or several, merged) cost, line by line."""

    @property
    def filename(self) -> str:
        """File of the function."""
    @property
    def name(self) -> str:
        """Name of the function."""
    @property
    def first_line(self) -> int:
        """Number of the first row's line."""
    @property
    def lines(self) -> int:
        """Number of rows."""
    @property
    def calls(self) -> int:
        """Entries into the function."""
    @property
    def base_bytes(self) -> int:
        """Footprint (RSS) at the first entry, in bytes; 0 when memory was not measured."""
    @property
    def total_s(self) -> float:
        """Seconds on all rows."""
    @property
    def failure(self) -> tuple[str, int] | None:
        """Name of the exception's type and the line, when an exception left the function."""

    def rows(self) -> list[tuple[int, int, float, float, int, int, int]]:
        """Return (line, hits, time_s, own_s, increment_bytes, usage_bytes, peak_bytes) of each line that ran."""

    def merge(self, other: LineOutcome) -> None:
        """Add another outcome of the same function."""

    def dump(self) -> str:
        """Return all of it as one line of text, for another process of this machine."""

    @staticmethod
    def load(text: str) -> LineOutcome:
        """Return what `dump` wrote; ValueError for other text."""

    def render(
        self, source: list[str], *, columns: str, precision: int = 1, peak: bool = False, unit_s: float = 1e-6
    ) -> str:
        """Return the table as text; ``source`` holds the lines of the function. ValueError for unknown columns."""

@final
class Drive:
    """Wraps a generator or a coroutine of the function that ``table`` watches; itself an iterator and an awaitable."""

    def __new__(cls, table: LineTable, inner: object, *, many: bool = False) -> Self:
        """Drive ``inner``; with ``many`` the session goes on after it."""
    def __iter__(self) -> Self: ...
    def __await__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any:
        """Take the next step with ``value``."""
    def throw(self, *arguments: Any) -> Any:
        """Take the next step with an exception."""
    def close(self) -> None:
        """Close what is driven and end the session."""
    def carry_on(self, inner: object) -> Self:
        """Go on with another awaitable of the same activation."""
    def end(self, exception: BaseException | None = None) -> None:
        """End the session; ``exception`` left the function."""

@final
class RssSampler:
    """Samples the resident bytes of a process until it is stopped, the process has gone, or ``limit`` was reached."""

    def __new__(cls, pid: int, interval_s: float, *, children: bool = False, limit: int | None = None) -> Self:
        """Start sampling on a thread that needs no GIL; ValueError for a negative interval."""

    def stop(self) -> list[tuple[float, list[tuple[int, int]]]]:
        """Stop, look once more, and return all looks: (seconds since the epoch, [(pid, bytes), ...])."""

    def wait(self) -> list[tuple[float, list[tuple[int, int]]]]:
        """Wait for the last look and return all, as :meth:`stop` does."""

@final
class ByteCount:
    """Bytes that this thread requests and gives back from its creation to :meth:`stop`."""

    def __new__(cls) -> Self:
        """Start counting; RuntimeError where this process' allocators cannot be hooked."""

    def stop(self) -> int:
        """Stop, and return the bytes allocated less those freed."""

    def peek(self) -> tuple[int, int, int]:
        """Return the bytes allocated so far, the same less those freed, and how far that rose above its start."""

@final
class Sampler:
    """Samples CPU time, waits and allocations of this process; :class:`rscalene.Profiler` is its face."""

    def __new__(
        cls,
        interval_s: float,
        *,
        all: bool = False,
        include: list[str] = ...,
        exclude: list[str] = ...,
        libraries: list[str] = ...,
        script: str | None = None,
        memory: bool = True,
        name: str = "profiler",
    ) -> Self:
        """Set what will be sampled; ValueError for a negative interval or a glob that is none."""

    def start(self) -> None:
        """Start sampling; RuntimeError when it is running already."""

    def stop(self) -> None:
        """Stop sampling and make the profile."""

    def pause(self, paused: bool) -> None:
        """Stop sampling for a while (``True``), or go on."""

    def reset(self) -> None:
        """Drop what was recorded."""

    def snapshot(self) -> ProfileData:
        """Return the profile so far, while sampling goes on; RuntimeError when it was never run."""

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""

    @staticmethod
    def unhook() -> None:
        """Sample no memory any more, in any sampler: for the interpreter's end."""

    @staticmethod
    def fork(begins: bool) -> None:
        """End the threads of all samplers because the process forks (``True``), or let the samplers go on."""

    @staticmethod
    def forked() -> None:
        """Forget all samplers: this is a forked child."""

    def result(self) -> ProfileData:
        """Return the profile as an object of its own; RuntimeError when there is none."""

@final
class Push:
    """Sends windows of a sampler's profile to a server; :func:`rscalene.push` is its face."""

    def __new__(
        cls,
        sampler: Sampler,
        url: str,
        *,
        name: str,
        labels: dict[str, str],
        every_s: float,
        auth: tuple[str, str] | None = None,
        headers: dict[str, str] = ...,
    ) -> Self:
        """Begin; ValueError for a URL or header that cannot be used, RuntimeError if the sampler does not run."""

    def stop(self, patience_s: float) -> bool:
        """Send the last window and end; False if the thread was still busy after so many seconds."""

    @staticmethod
    def fork(begins: bool) -> None:
        """End all threads that send because the process forks (``True``), or let them go on."""

    @staticmethod
    def forked() -> None:
        """Forget all threads that send: this is a forked child."""

    @property
    def sent(self) -> int:
        """Windows that the server took."""

    @property
    def dropped(self) -> int:
        """Windows that were given up."""

    @property
    def error(self) -> str | None:
        """Why the server did not take the last window; ``None`` if it did."""

@final
class MergeData:
    """Profiles that are being merged; :func:`rscalene.merge` is its face.

    The methods that add return why a profile was not merged, or ``None``.
    """

    def __new__(cls) -> MergeData: ...
    def add_file(self, path: str) -> str | None:
        """Add a file that holds a profile's JSON."""

    def add_json(self, name: str, bytes: bytes) -> str | None:
        """Add a profile's JSON, which messages call ``name``."""

    def add(self, name: str, data: ProfileData) -> str | None:
        """Add a profile, which messages call ``name``."""

    def runs(self) -> int:
        """Return the number of runs that were added."""

    def finish(self, by: str | None) -> ProfileData:
        """Return the profile of all; ValueError for an unknown ``by``."""

@final
class ProfileData:
    """A profile; :class:`rscalene.Result` is its face."""

    SORT_KEYS: ClassVar[list[str]]
    """Orders of lines, files and functions."""
    MEMORY_KEYS: ClassVar[list[str]]
    """Keys of a line's figures of memory, in the order of the JSON."""

    @staticmethod
    def read(path: str) -> ProfileData:
        """Read a file that holds the JSON; OSError or ValueError when it does not."""

    @staticmethod
    def parse(name: str, bytes: bytes) -> ProfileData:
        """Take the JSON from memory; ValueError, which calls it ``name``, when it is no profile."""

    def unread(self) -> list[str]:
        """Return the names of the files of which no line has text."""

    def with_texts(self, files: list[tuple[str, str, str]], title: str | None) -> ProfileData:
        """Return a copy with other names and the text of files: ``(name, new name, text)``.

        ``title`` becomes the name of what was profiled, unless it is ``None``.
        """

    def json(self, pretty: bool) -> str:
        """Return the JSON, format 1."""

    def text(self, unicode: bool, color: bool, width: int, sort: str, top: int) -> str:
        """Return the table; ValueError for an unknown order."""

    def summary(self) -> str:
        """Return the run in one line."""

    def html(self, source: bool) -> str:
        """Return the page."""

    def fragment(self, sort: str, top: int) -> str:
        """Return the piece of a page that notebooks show; ValueError for an unknown order."""

    def markdown(self, sort: str, top: int) -> str:
        """Return the hottest lines as Markdown; ValueError for an unknown order."""

    def encode(self, format: str) -> bytes:
        """Return the profile in a format that ``rscalene view --format`` knows; ValueError for another one."""

    def save(self, path: str) -> None:
        """Write it to a file; the ending picks the format. ValueError for another ending, OSError."""

    def diff(self, after: ProfileData) -> DiffData:
        """Return what changed from this profile to ``after``."""

@final
class DiffData:
    """What changed between two profiles; :class:`rscalene.Diff` is its face."""

    def json(self) -> str:
        """Return all figures as JSON."""

    def text(self, unicode: bool, color: bool, width: int, top: int) -> str:
        """Return the table."""

    def html(self) -> str:
        """Return the page."""

    def fragment(self, top: int) -> str:
        """Return the piece of a page that notebooks show."""

    def markdown(self, top: int) -> str:
        """Return the lines that changed, as Markdown."""

    def save(self, path: str) -> None:
        """Write it to a file; the ending picks the format. ValueError for another ending, OSError."""

@final
class Stretch:
    """A stretch of a request on one thread: what :meth:`Request.exit` needs."""

@final
class CallTable:
    """A table of functions: calls, primitive calls, own and cumulative time, and who called."""

    @staticmethod
    def of_rows(rows: list[tuple[str, int, str, int, int, float, float]]) -> CallTable:
        """Make a table of rows as :meth:`rows` gives them, without callers."""

    def rows(self) -> list[tuple[str, int, str, int, int, float, float]]:
        """``(file, line, name, calls, primitive_calls, own_s, total_s)`` of each function."""

    def prof(self) -> bytes:
        """Give the file that ``pstats.Stats`` reads."""

    def text(self, sort_by: list[str], restrictions: list[object]) -> str:
        """Give what ``pstats`` prints; ``sort_by`` are full names of its keys."""

@final
class Request:
    """One request: what ran in its context is counted exactly."""

    def __new__(cls, *, lines: bool = True, functions: bool = False, max_s: float | None = None) -> Self: ...
    def enter(self) -> Stretch:
        """Make it the running context's request until :meth:`exit` is called with the answer."""

    def exit(self, stretch: Stretch) -> None:
        """End what :meth:`enter` began; in another context only the CPU time is added."""

    def close(self) -> None:
        """End it: nothing is recorded afterwards."""

    @property
    def label(self) -> int:
        """Number of this request, in this process."""

    @property
    def closed(self) -> bool:
        """Whether it has ended."""

    @property
    def functions(self) -> bool:
        """Whether functions are recorded."""

    @property
    def lines(self) -> bool:
        """Whether lines are recorded."""

    @property
    def cut(self) -> bool:
        """Whether the recording of functions ended after ``max_s`` seconds."""

    @property
    def folded(self) -> bool:
        """Whether the call tree was folded because it had too many paths."""

    @property
    def elapsed_s(self) -> float:
        """Seconds from the opening to the end, or to now."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds between ``enter`` and ``exit``, on the threads where they ran."""

    @property
    def sql(self) -> Any:
        """What counts the request's SQL, or None."""

    @sql.setter
    def sql(self, value: Any) -> None: ...
    def table(self) -> CallTable:
        """Sum what ran by function, as cProfile does."""

    def line_rows(self) -> list[tuple[str, int, str, int, float, float, float, int | None, int | None]]:
        """``(file, line, function, hits, time_s, own_s, await_s, net_bytes, peak_bytes)`` of each line that ran."""

    def tree_rows(self) -> list[tuple[int, str, int, str, int, float]]:
        """``(parent, file, line, function, calls, own_s)`` of each path of functions; parent -1: none."""

def labels_followed() -> bool:
    """Tell whether anything records labels: ``rscalene run``, or a profiler of this process."""

def label_number(pairs: list[tuple[str, str]]) -> int | None:
    """Give the number of these pairs of key and value; None where nothing records."""

def label_pairs() -> list[tuple[str, str]]:
    """Give the pairs of the running context's label; empty where it has none, or a request's."""

def label_enter(label: int) -> Any:
    """Make the running context bear a label; the answer is for :func:`label_exit`."""

def label_exit(token: Any) -> None:
    """Give the context back what it bore."""

def label_ended(label: int, name: int, wall_ns: int, cpu_ns: int | None) -> None:
    """Tell that work with the label ``name`` ended; ``label`` is the request's number, 0 for a block."""

def current_request() -> Request | None:
    """Give the running context's open request."""

def request_scope(globs: list[str]) -> bool:
    """Add globs of files whose lines are reported; False once a request has fixed the scope."""

def requests_refused() -> str | None:
    """Say why requests are not profiled in this interpreter."""

def page_style() -> str:
    """Return the style sheet of the report, which the pages of requests share."""
