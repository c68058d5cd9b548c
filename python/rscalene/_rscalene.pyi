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
    """Run a command line and return the exit code, 0 to 255.

    ``argv`` starts with the name of the program, like ``sys.argv``. ``executable`` is the interpreter for Python
    programs, unless ``--python`` names another interpreter.
    """

def sql_arm(
    *, libraries: list[str], script: str | None, cwd: str, include: list[str] = ..., sqlite: bool = True
) -> bool:
    """Prepare this process to count queries; return whether statements of sqlite are counted inside ``_sqlite3``.

    Lines in the folders ``libraries`` are out of scope; ``script`` and files that match the globs ``include`` are in
    scope in any case. ValueError for an invalid glob.
    """

def sql_variable() -> ContextVar[object]:
    """Return the context variable that holds the current :class:`Ledger`, a :class:`Call`, or ``None``."""

def sql_follow() -> bool:
    """Report every execution of this process to the launcher; return whether there is a launcher."""

def sql_settle() -> None:
    """Report the time and rows so far of executions that have not ended."""

def sql_begin(
    sql: Any, params: Any = None, strings: bool = False, frame: FrameType | None = None, by: str = ""
) -> Call | None:
    """Begin an execution on this line; return ``None`` if an outer layer counts the execution, or nothing counts.

    With ``strings``, double quotes in ``sql`` enclose strings. With ``by="redis"``, ``sql`` is the name of a command.
    If this thread has only frames of libraries, the user's lines come from ``frame``.
    """

def sql_counts() -> bool:
    """Return whether an execution that begins here would count."""

def sql_build_begin() -> Build | None:
    """Begin a call into an ORM; return ``None`` inside another such call, or if nothing counts."""

@final
class Build:
    """A call into an ORM: its time, without the driver's time, counts for the calling line."""

    def end(self, frame: FrameType | None = None) -> None:
        """End the call; if this thread has only frames of libraries, the line comes from ``frame``."""

@final
class Call:
    """An execution of a statement, from its begin to its end."""

    def end(self, rows: int = -1) -> None:
        """End the execution; ``rows`` below 0 means unknown."""

    def fail(self) -> None:
        """End the execution as failed."""

    def abandon(self) -> None:
        """End the execution, if it has not ended, because no hook will report its end."""

    def add_rows(self, rows: int) -> None:
        """Count more rows, after the end."""

    def run(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` as a part of this execution, on any thread."""

@final
class Ledger:
    """Executions of statements in a request, a test or a block; the public class is :class:`rscalene.sql.Queries`."""

    def __new__(cls, outer: Ledger | None = None) -> Self:
        """Make an empty ledger; its executions also count in ``outer``."""

    def enter(self) -> Token[object]:
        """Count the executions of this context from now on; return the token for :meth:`leave`."""

    def leave(self, token: Token[object]) -> None:
        """Stop counting."""

    def count_the_process(self, on: bool) -> None:
        """Count all executions of this process, in addition to other ledgers."""

    @property
    def outer(self) -> Ledger | None:
        """The ledger around this one."""
    @property
    def queries(self) -> int:
        """Number of executions without words of transactions and without calls of another kind."""
    @property
    def executions(self) -> int:
        """Number of all executions."""
    @property
    def folded(self) -> int:
        """Number of executions counted without a line, because the ledger was full."""

    def entries(
        self,
    ) -> list[tuple[list[tuple[str, int, str]], str, bool, int, int, int, int | None, int, int]]:
        """Return (places, statement, transaction, count, ns, longest_ns, rows, errors, first) of all entries.

        Places are (file, line, function), innermost first.
        """

    def builds(self) -> list[tuple[list[tuple[str, int, str]], int]]:
        """Return (places, ns) of ORMs, without the drivers' time. Places as in :meth:`entries`."""

    def findings(
        self, threshold: int
    ) -> list[tuple[tuple[str, int, str] | None, str, int, bool, tuple[tuple[str, int, str], str, int] | None, int]]:
        """Return (place, statement, count, parameters differ, cause, first) of each N+1 and duplicate.

        These are the statements with at least ``threshold`` executions from a line.
        """

    def log(self) -> list[tuple[int, int]]:
        """Return (index of the entry, nanoseconds) of the executions, in order."""

@final
class LineTable:
    """The lines of a decorated function, and the callback for the end of a call."""

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
        """Return the outcome without any call."""

def instrumented(table: LineTable, code: CodeType) -> CodeType:
    """Return a copy of ``code`` that reports its calls, or ``code`` where the interpreter reports them."""

def watch(table: LineTable, codes: list[CodeType]) -> None:
    """Watch these code objects, the function's own first, for the rest of the process' life."""

@final
class LineOutcome:
    """The cost of a call of a profiled function (or of several calls, merged), line by line."""

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
        """Return the outcome as a line of text, for another process of this machine."""

    @staticmethod
    def load(text: str) -> LineOutcome:
        """Read a text of :meth:`dump`; ValueError for other text."""

    def render(
        self, source: list[str], *, columns: str, precision: int = 1, peak: bool = False, unit_s: float = 1e-6
    ) -> str:
        """Return the table as text; ``source`` holds the lines of the function. ValueError for unknown columns."""

@final
class Drive:
    """Wraps a generator or a coroutine of the function watched by ``table``; itself an iterator and an awaitable."""

    def __new__(cls, table: LineTable, inner: object, *, many: bool = False) -> Self:
        """Drive ``inner``; with ``many``, the session goes on after the end of ``inner``."""
    def __iter__(self) -> Self: ...
    def __await__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any:
        """Take the next step with ``value``."""
    def throw(self, *arguments: Any) -> Any:
        """Take the next step with an exception."""
    def close(self) -> None:
        """Close the wrapped generator or coroutine and end the session."""
    def carry_on(self, inner: object) -> Self:
        """Continue with another awaitable of the same activation."""
    def end(self, exception: BaseException | None = None) -> None:
        """End the session; ``exception``: the exception with which the function ended."""

@final
class RssSampler:
    """Samples the resident bytes of a process until :meth:`stop`, the process' end, or ``limit``."""

    def __new__(cls, pid: int, interval_s: float, *, children: bool = False, limit: int | None = None) -> Self:
        """Start sampling on a thread that needs no GIL; ValueError for a negative interval."""

    def stop(self) -> list[tuple[float, list[tuple[int, int]]]]:
        """Take a last sample, stop, and return all samples: (seconds since the epoch, [(pid, bytes), ...])."""

    def wait(self) -> list[tuple[float, list[tuple[int, int]]]]:
        """Wait for the last sample and return all samples, in the form of :meth:`stop`."""

@final
class ByteCount:
    """Bytes that this thread allocates and frees, from the creation of this object to :meth:`stop`."""

    def __new__(cls) -> Self:
        """Start counting; RuntimeError if this process' allocators cannot be hooked."""

    def stop(self) -> int:
        """Stop, and return the allocated bytes minus the freed bytes."""

    def peek(self) -> tuple[int, int, int]:
        """Return the bytes allocated so far, the net bytes (without the freed bytes), and the peak of the net bytes."""

@final
class Sampler:
    """Samples CPU time, waits and allocations of this process; the public class is :class:`rscalene.Profiler`."""

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
        """Set the options; ValueError for a negative interval or an invalid glob."""

    def start(self) -> None:
        """Start sampling; RuntimeError if the sampler is running already."""

    def stop(self) -> None:
        """Stop sampling and make the profile."""

    def pause(self, paused: bool) -> None:
        """Pause sampling (``True``), or continue (``False``)."""

    def reset(self) -> None:
        """Drop the samples recorded so far."""

    def snapshot(self) -> ProfileData:
        """Return the profile so far, while sampling goes on; RuntimeError if the sampler never ran."""

    @property
    def running(self) -> bool:
        """Whether the sampler was started and not stopped."""

    @staticmethod
    def unhook() -> None:
        """Stop the memory sampling of all samplers, at the interpreter's end."""

    @staticmethod
    def fork(begins: bool) -> None:
        """Before a fork (``True``): end the threads of all samplers. After the fork (``False``): start them again."""

    @staticmethod
    def forked() -> None:
        """Forget all samplers, in a forked child."""

    def result(self) -> ProfileData:
        """Return the profile as a separate object; RuntimeError if there is none."""

@final
class Push:
    """Sends windows of a sampler's profile to a server; the public function is :func:`rscalene.push`."""

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
        """Begin; ValueError for an invalid URL or header, RuntimeError if the sampler does not run."""

    def stop(self, patience_s: float) -> bool:
        """Send the last window and end; False if the thread was still busy after ``patience_s`` seconds."""

    @staticmethod
    def fork(begins: bool) -> None:
        """Before a fork (``True``): end all sending threads. After the fork (``False``): start them again."""

    @staticmethod
    def forked() -> None:
        """Forget all sending threads, in a forked child."""

    @property
    def sent(self) -> int:
        """Number of windows accepted by the server."""

    @property
    def dropped(self) -> int:
        """Number of dropped windows."""

    @property
    def error(self) -> str | None:
        """The reason why the server did not accept the last window; ``None`` if the server accepted it."""

@final
class MergeData:
    """A merge of profiles; the public function is :func:`rscalene.merge`.

    The methods ``add`` return the reason why a profile was not merged, or ``None``.
    """

    def __new__(cls) -> MergeData: ...
    def add_file(self, path: str) -> str | None:
        """Add a file with a profile's JSON."""

    def add_json(self, name: str, bytes: bytes) -> str | None:
        """Add a profile's JSON; messages call the profile ``name``."""

    def add(self, name: str, data: ProfileData) -> str | None:
        """Add a profile; messages call the profile ``name``."""

    def runs(self) -> int:
        """Return the number of added runs."""

    def finish(self, by: str | None) -> ProfileData:
        """Return the merged profile; ValueError for an unknown ``by``."""

@final
class ProfileData:
    """A profile; the public class is :class:`rscalene.Result`."""

    SORT_KEYS: ClassVar[list[str]]
    """Orders of lines, files and functions."""
    MEMORY_KEYS: ClassVar[list[str]]
    """Keys of a line's figures of memory, in the order of the JSON."""

    @staticmethod
    def read(path: str) -> ProfileData:
        """Read a file with a profile's JSON; OSError, or ValueError for another file."""

    @staticmethod
    def parse(name: str, bytes: bytes) -> ProfileData:
        """Read a profile from JSON in memory; ValueError for other bytes, with ``name`` in the message."""

    def unread(self) -> list[str]:
        """Return the names of the files without any line's text."""

    def with_texts(self, files: list[tuple[str, str, str]], title: str | None) -> ProfileData:
        """Return a copy with other names and the text of files: ``(name, new name, text)``.

        ``title`` becomes the name of the profiled program, unless it is ``None``.
        """

    def json(self, pretty: bool) -> str:
        """Return the JSON, format 1."""

    def text(self, unicode: bool, color: bool, width: int, sort: str, top: int) -> str:
        """Return the table; ValueError for an unknown order."""

    def summary(self) -> str:
        """Return a summary of the run in a single line."""

    def html(self, source: bool) -> str:
        """Return the page."""

    def fragment(self, sort: str, top: int) -> str:
        """Return the part of a page for notebooks; ValueError for an unknown order."""

    def markdown(self, sort: str, top: int) -> str:
        """Return the hottest lines as Markdown; ValueError for an unknown order."""

    def encode(self, format: str) -> bytes:
        """Return the profile in a format of ``rscalene view --format``; ValueError for an unknown format."""

    def save(self, path: str) -> None:
        """Write the profile to a file; the ending selects the format. OSError, or ValueError for an unknown ending."""

    def diff(self, after: ProfileData) -> DiffData:
        """Return the changes from this profile to ``after``."""

@final
class DiffData:
    """The changes between two profiles; the public class is :class:`rscalene.Diff`."""

    def json(self) -> str:
        """Return all figures as JSON."""

    def text(self, unicode: bool, color: bool, width: int, top: int) -> str:
        """Return the table."""

    def html(self) -> str:
        """Return the page."""

    def fragment(self, top: int) -> str:
        """Return the part of a page for notebooks."""

    def markdown(self, top: int) -> str:
        """Return the changed lines as Markdown."""

    def save(self, path: str) -> None:
        """Write the changes to a file; the ending selects the format. OSError, or ValueError for an unknown ending."""

@final
class Stretch:
    """A stretch of a request on a thread: the argument of :meth:`Request.exit`."""

@final
class CallTable:
    """A table of functions: calls, primitive calls, own and cumulative time, and callers."""

    @staticmethod
    def of_rows(rows: list[tuple[str, int, str, int, int, float, float]]) -> CallTable:
        """Make a table from rows in the form of :meth:`rows`, without callers."""

    def rows(self) -> list[tuple[str, int, str, int, int, float, float]]:
        """Return ``(file, line, name, calls, primitive_calls, own_s, total_s)`` of each function."""

    def prof(self) -> bytes:
        """Return the content of a file for ``pstats.Stats``."""

    def text(self, sort_by: list[str], restrictions: list[object]) -> str:
        """Return the text that ``pstats`` prints; ``sort_by`` are full names of its keys."""

@final
class Request:
    """A request: code that runs in its context is counted exactly."""

    def __new__(
        cls, *, lines: bool = True, functions: bool = False, memory: bool = False, max_s: float | None = None
    ) -> Self: ...
    def enter(self) -> Stretch:
        """Make this request the running context's request; return the argument for :meth:`exit`."""

    def exit(self, stretch: Stretch) -> None:
        """End a stretch that :meth:`enter` began; in another context, only add the CPU time."""

    def close(self) -> None:
        """End the request; nothing is recorded afterwards."""

    @property
    def label(self) -> int:
        """Number of this request, in this process."""

    @property
    def closed(self) -> bool:
        """Whether the request has ended."""

    @property
    def functions(self) -> bool:
        """Whether functions are recorded."""

    @property
    def lines(self) -> bool:
        """Whether lines are recorded."""

    @property
    def bytes(self) -> tuple[int, int, int] | None:
        """Bytes allocated, net and at the peak between :meth:`enter` and :meth:`exit`; None if not counted."""

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
        """CPU seconds between :meth:`enter` and :meth:`exit`, summed over the threads of all stretches."""

    @property
    def sql(self) -> Any:
        """The ledger of the request's SQL, or None."""

    @sql.setter
    def sql(self, value: Any) -> None: ...
    def table(self) -> CallTable:
        """Return the sums by function, as cProfile does."""

    def line_rows(self) -> list[tuple[str, int, str, int, float, float, float, int | None, int | None]]:
        """Return ``(file, line, function, hits, time_s, own_s, await_s, net_bytes, peak_bytes)`` of each line."""

    def tree_rows(self) -> list[tuple[int, str, int, str, int, float]]:
        """Return ``(parent, file, line, function, calls, own_s)`` of each path of functions; parent -1: none."""

def labels_followed() -> bool:
    """Return whether labels are recorded: by ``rscalene run``, or by a profiler of this process."""

def label_number(pairs: list[tuple[str, str]]) -> int | None:
    """Return the number of these pairs of key and value; None without a recording."""

def label_pairs() -> list[tuple[str, str]]:
    """Return the pairs of the running context's label; empty without a label, or if the label is a request's."""

def label_enter(label: int) -> Any:
    """Give the running context a label; return the token for :func:`label_exit`."""

def label_exit(token: Any) -> None:
    """Give the context its former label back."""

def label_ended(label: int, name: int, wall_ns: int, cpu_ns: int | None) -> None:
    """Record the end of work with the label ``name``; ``label`` is the request's number, 0 for a block."""

def current_request() -> Request | None:
    """Return the running context's open request."""

def request_scope(globs: list[str]) -> bool:
    """Add globs of files in scope; return False once a request has fixed the scope."""

def requests_refused() -> str | None:
    """Return the reason why requests are not profiled in this interpreter; None if they can be."""

def page_style() -> str:
    """Return the style sheet of the report; the pages of requests use the same style sheet."""
