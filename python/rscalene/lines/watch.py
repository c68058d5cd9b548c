"""Functions watched in place for a while, as ``-f`` and ``-m`` of the notebook's magics ask."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from rscalene.lines.collector import Collector
from rscalene.lines.decorator import decorate

__all__ = ["Watch"]

_DRIVEN = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR


class Watch:
    """Watches functions in place until :meth:`end`, so calls through any reference are measured."""

    def __init__(self, collector: Collector) -> None:
        """Begin without functions; outcomes go to ``collector``."""
        self.collector = collector
        self._undo: list[Callable[[], None]] = []

    def add(self, expression: str, namespace: dict[str, Any]) -> None:
        """Watch the function, method or class named by ``expression``.

        :raises NameError: if the name is unknown; other errors of evaluating ``expression`` pass through.
        :raises TypeError: if the object has no lines.
        """
        owner_text, _, name = expression.rpartition(".")
        owner: Any = eval(owner_text, namespace) if owner_text else None
        if owner is not None and name.isidentifier():
            self._member(owner, name)
        else:
            self._object(eval(expression, namespace), lambda new: namespace.__setitem__(expression, new))

    def add_module(self, name: str) -> None:
        """Watch all functions and classes defined by the module ``name``; ImportError without such a module."""
        module: ModuleType = sys.modules.get(name) or import_module(name)
        for member, value in list(vars(module).items()):
            if getattr(value, "__module__", None) == module.__name__ and isinstance(value, FunctionType | type):
                self._member(module, member)

    def define(self, target: Any, namespace: dict[str, Any]) -> Any:
        """Watch a function as a decorator in ``namespace`` does; return the function to call instead."""
        made = target

        def put(new: Any) -> None:
            nonlocal made
            if namespace.get(target.__name__) is made:
                namespace[target.__name__] = new
            made = new

        self._object(target, put)
        return made

    def end(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()

    def _member(self, owner: Any, name: str) -> None:
        raw = inspect.getattr_static(owner, name)
        home = owner if name in getattr(owner, "__dict__", {}) or isinstance(owner, type) else type(owner)
        if isinstance(home, type):  # where the method is defined, not where it was inherited to
            home = next((base for base in home.__mro__ if name in vars(base)), home)
        self._object(raw, lambda new: setattr(home, name, new))

    def _object(self, target: Any, put: Callable[[Any], None]) -> None:
        if isinstance(target, type):
            for name, member in list(vars(target).items()):
                if isinstance(member, FunctionType | staticmethod | classmethod | property):
                    self._member(target, name)
            return
        function = getattr(target, "__func__", target)
        if isinstance(function, FunctionType) and not function.__code__.co_flags & _DRIVEN:
            code = function.__code__
            self.collector.add_function(function)
            self._undo.append(lambda: setattr(function, "__code__", code))
            return
        # Steps of generators and coroutines are driven from outside, which needs a function in place of this one.
        options, gather = self.collector.options, self.collector.gather
        put(decorate(target, options, gather))
        self._undo.append(lambda: put(target))
