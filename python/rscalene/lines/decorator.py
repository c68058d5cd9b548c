"""``@profile``: exact line reports for the functions you name.

The decorated function keeps its kind. A plain function becomes a copy of itself with a code object that reports lines:
signature and recursion depth do not change. A generator, coroutine or async generator function is wrapped in a function
of the same kind, so tasks that take turns have a table each.

The environment variable ``RSCALENE=0`` makes every decorator of this module return its argument unchanged.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from importlib import import_module
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeVar, cast, overload

from rscalene._rscalene import Drive, LineOutcome, LineTable, instrumented, watch
from rscalene.lines.options import Options, TableStream
from rscalene.lines.placement import is_being_defined, rewrapped, warn_if_kept, wrapped_by
from rscalene.lines.tables import render, write_or_show

__all__ = ["decorate", "enabled", "profile", "swap_code", "tables_for"]

_Decorated = TypeVar("_Decorated")


def enabled() -> bool:
    """Whether decorators do anything: ``RSCALENE=0`` in the environment turns them off."""
    return os.environ.get("RSCALENE") != "0"


@overload
def profile(func: _Decorated, /) -> _Decorated: ...


@overload
def profile(
    func: None = None,
    stream: TableStream | None = None,
    precision: int = 1,
    backend: str = "exact",
    *,
    columns: str | None = None,
    time: bool = False,
    peak: bool = False,
    sql: bool = False,
    name: str | None = None,
) -> Callable[[_Decorated], _Decorated]: ...


@overload
def profile(
    func: _Decorated,
    stream: TableStream | None = None,
    precision: int = 1,
    backend: str = "exact",
    *,
    columns: str | None = None,
    time: bool = False,
    peak: bool = False,
    sql: bool = False,
    name: str | None = None,
) -> _Decorated: ...


def profile(
    func: Any = None,
    stream: TableStream | None = None,
    precision: int = 1,
    backend: str = "exact",
    *,
    columns: str | None = None,
    time: bool = False,
    peak: bool = False,
    sql: bool = False,
    name: str | None = None,
) -> Any:
    """Print a table of the decorated function's lines each time its outermost call ends.

    Goes on functions, methods, generator, coroutine and async generator functions, on either side of ``staticmethod``,
    ``classmethod``, ``property`` and ``functools.lru_cache``, and on classes (all functions defined in them). A
    function decorated twice has a single report, with the options of the outer decorator.

    :param stream: where the table goes: an object with ``write``, a path (cleared by the first table, appended to
        by the next ones), or a logger (level INFO). The default is ``sys.stdout`` at the time of printing.
    :param precision: decimals of the MiB cells, 0 to 12. A MiB is 2**20 bytes.
    :param backend: ``"exact"``: Increment is the bytes that the line allocated minus the bytes that it freed, on this
        thread, as requested; ``"rss"``: the change of the process' resident memory; ``"tracemalloc"``: as ``"exact"``.
    :param columns: ``"memory"`` (the default), ``"classic"`` (memory_profiler before 0.58), ``"time"``,
        ``"line_profiler"`` (``"time"`` without own time), or ``"all"``.
    :param time: the same as ``columns="time"``. While a :class:`rscalene.Profiler` runs, the columns with own time also
        show the CPU time sampled on each line, callees included: Python's, native, and the kernel's. Cells are
        blank where no sample fell; a coroutine's steps of less than a sample's 2 ms share theirs with their neighbours.
    :param peak: add the column ``Peak``: the highest transient above the memory at which the line began.
    :param sql: add the columns ``SQL`` (queries), ``SQL ms`` (in the driver), ``Rows`` and ``Mark`` (``N+1``,
        ``duplicate``), callees included, and below the table the statements in order with their lines. Not on classes.
    :param name: a title printed before the table, and the function's name in the time table.
    :raises ValueError: for unknown columns, backends or precisions.
    :raises TypeError: when the object to decorate has no Python code, or ``stream`` cannot be written to.
    :raises RuntimeError: when no tool id of ``sys.monitoring`` is free.
    """
    options = Options(
        stream=stream,
        precision=precision,
        backend=backend,
        columns=columns or ("time" if time else "memory"),
        peak=peak,
        name=name,
        sql=sql,
    )
    if func is None:
        return functools.partial(_profile_with, options)
    return _profile_with(options, func)


def _profile_with(options: Options, target: Any) -> Any:
    if not enabled():
        return target
    if options.sql and isinstance(target, type):
        raise TypeError("cannot count the queries of a class\nhint: decorate its functions")
    decorated = decorate(target, options, functools.partial(_print, options))
    if not options.sql:
        return decorated
    counted = import_module("rscalene.sql.by_line").counted
    return counted(decorated)


def _print(options: Options, outcome: LineOutcome) -> None:
    write_or_show(options.stream, render(outcome, options))


def decorate(target: Any, options: Options, on_end: Callable[[LineOutcome], None]) -> Any:
    """Return ``target`` with its functions watched; ``on_end`` gets the outcome of each outermost call.

    :raises TypeError: when ``target`` has no Python code.
    """
    again = functools.partial(decorate, options=options, on_end=on_end)
    if isinstance(target, type):
        for name, member in list(vars(target).items()):
            if isinstance(member, _MEMBERS):
                setattr(target, name, again(member))
        return target
    if isinstance(target, staticmethod | classmethod):
        return type(target)(again(target.__func__))
    if isinstance(target, property):
        fget, fset, fdel = (_function_or_same(accessor, again) for accessor in (target.fget, target.fset, target.fdel))
        return property(fget, fset, fdel, target.__doc__)
    if isinstance(target, functools.cached_property):
        target.func = again(target.func)
        return target
    if isinstance(target, _CACHED):
        cached = functools.lru_cache(**target.cache_parameters())(again(target.__wrapped__))
        return functools.update_wrapper(cached, target)
    if isinstance(target, functools.partialmethod):
        return functools.partialmethod(again(target.func), *target.args, **target.keywords)
    if isinstance(target, functools.partial):
        return functools.partial(again(target.func), *target.args, **target.keywords)
    if isinstance(target, MethodType):
        return MethodType(again(target.__func__), target.__self__)
    inner = wrapped_by(target) if not _is_made(target) else None
    if inner is not None and not _is_made(inner):
        return _through_wrappers(target, inner, options, on_end)
    if isinstance(target, FunctionType):
        if target.__code__.co_flags & _DRIVEN == 0 and not _is_made(target) and is_being_defined(target, target):
            # A decorator below may have kept it: whoever holds it runs the watched code.
            swap_code(target, options, on_end)
            return _remembered(target)
        if target.__code__.co_flags & _DRIVEN and is_being_defined(target, target):
            warn_if_kept(target)
        return _remembered(_function(target, options, on_end))
    raise TypeError(f"cannot profile the lines of {target!r}: it has no Python code")


#: The type of functions behind ``functools.lru_cache``.
_CACHED: Any = type(functools.lru_cache(len))

#: The kinds of members to decorate in a class.
_MEMBERS: tuple[Any, ...] = (FunctionType, staticmethod, classmethod, property, functools.cached_property, _CACHED)


#: Functions that this module made or watches in place.
_made: weakref.WeakSet[Any] = weakref.WeakSet()


def _is_made(target: Any) -> bool:
    return isinstance(target, FunctionType) and target in _made


def _remembered(function: FunctionType) -> FunctionType:
    _made.add(function)
    return function


def _through_wrappers(target: Any, inner: FunctionType, options: Options, on_end: Callable[[LineOutcome], None]) -> Any:
    """Watch the function that the wrappers of other decorators lead to; return what takes the place of ``target``."""
    plain = not inner.__code__.co_flags & _DRIVEN
    if plain and is_being_defined(inner, target):
        swap_code(inner, options, on_end)
        return target
    made = rewrapped(target, inner, _function(inner, options, on_end))
    if made is not None:
        return _remembered(made)
    if isinstance(target, FunctionType):
        return _remembered(_function(target, options, on_end))
    raise TypeError(
        f"cannot profile the lines of {target!r}: {inner.__qualname__} cannot be reached through it\n"
        "hint: put @profile below the other decorators"
    )


def _function_or_same(accessor: Any, again: Callable[[Any], Any]) -> Any:
    return again(accessor) if isinstance(accessor, FunctionType) else accessor


def _function(func: FunctionType, options: Options, on_end: Callable[[LineOutcome], None]) -> FunctionType:
    code, table = _watched(func, options, on_end)
    body = FunctionType(code, func.__globals__, func.__name__, func.__defaults__, func.__closure__)
    body.__kwdefaults__ = func.__kwdefaults__
    flags = code.co_flags
    if flags & inspect.CO_COROUTINE:
        return _coroutine_function(func, body, table)
    if flags & inspect.CO_ASYNC_GENERATOR:
        return _async_generator_function(func, body, table)
    if flags & inspect.CO_GENERATOR:
        return _generator_function(func, body, table)
    functools.update_wrapper(body, func)
    return body


def swap_code(target: Any, options: Options, on_end: Callable[[LineOutcome], None]) -> None:
    """Watch a plain function in place: from now on every call runs the watched code.

    :raises TypeError: when ``target`` is not a plain Python function.
    """
    func = getattr(target, "__func__", target)
    if not isinstance(func, FunctionType) or func.__code__.co_flags & _DRIVEN:
        raise TypeError(f"cannot watch {target!r} in place: only plain functions can be, decorate it instead")
    func.__code__ = _watched(func, options, on_end)[0]


_DRIVEN = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR

#: A closure decorated a million times has a single table: (code, its copy, table) by identity, options and receiver.
_tables: dict[tuple[int, Options, object], tuple[CodeType, CodeType, LineTable]] = {}


def tables_for(on_end: Callable[[LineOutcome], None]) -> list[LineTable]:
    """Return the tables of all functions with receiver ``on_end``, called or not."""
    return [table for (_, _, receiver), (_, _, table) in list(_tables.items()) if receiver == on_end]


def _watched(func: FunctionType, options: Options, on_end: Callable[[LineOutcome], None]) -> tuple[CodeType, LineTable]:
    original = func.__code__
    receiver = on_end.func if isinstance(on_end, functools.partial) else on_end
    key: tuple[int, Options, object] = (id(original), options, receiver)
    try:
        known = _tables.get(key)
    except TypeError:  # a stream that has no hash
        known, key = None, (id(original), Options(), object())
    if known is not None:
        return known[1], known[2]
    codes: list[CodeType] = []
    copy = _copied(original, codes)
    last = max(line or 0 for code in codes for _, _, line in code.co_lines())
    first = original.co_firstlineno
    table = LineTable(
        original.co_filename,
        options.name or func.__qualname__,
        first,
        max(last - first + 1, 1),
        memory=options.memory,
        own=options.columns in ("time", "all"),
        driven=bool(original.co_flags & _DRIVEN),
        on_end=on_end,
    )
    copy = instrumented(table, copy)
    watch(table, [copy, *codes[1:]])
    _tables[key] = (original, copy, table)
    return copy, table


def _copied(code: CodeType, codes: list[CodeType]) -> CodeType:
    """Return a copy of ``code`` and its nested code objects, for the decorated function alone."""
    at = len(codes)
    codes.append(code)
    consts = tuple(_copied(const, codes) if isinstance(const, CodeType) else const for const in code.co_consts)
    codes[at] = code.replace(co_consts=consts)
    return codes[at]


def _generator_function(func: FunctionType, body: FunctionType, table: LineTable) -> FunctionType:
    @functools.wraps(func)
    def watched(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from Drive(table, body(*args, **kwargs)))

    if func.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
        types.coroutine(watched)  # sets the flag in place
    return cast(FunctionType, watched)


def _coroutine_function(func: FunctionType, body: FunctionType, table: LineTable) -> FunctionType:
    @functools.wraps(func)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        return await Drive(table, body(*args, **kwargs))

    return cast(FunctionType, watched)


def _async_generator_function(func: FunctionType, body: FunctionType, table: LineTable) -> FunctionType:
    @functools.wraps(func)
    async def watched(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = body(*args, **kwargs)
        drive = Drive(table, None, many=True)
        failure: BaseException | None = None
        step = inner.__anext__()
        try:
            while True:
                try:
                    value = await drive.carry_on(step)
                except StopAsyncIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    await drive.carry_on(inner.aclose())
                    raise
                except BaseException as thrown:
                    step = inner.athrow(thrown)
                else:
                    step = inner.asend(sent)
        except BaseException as error:
            failure = error
            raise
        finally:
            drive.end(failure)

    return cast(FunctionType, watched)
