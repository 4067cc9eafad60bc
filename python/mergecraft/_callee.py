"""A user's function: its parameters, and calls of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping

from ._arguments import COMMON
from ._errors import ArgumentError, unknown_keyword

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    import inspect
    from typing import Any

# Arguments that a function is offered: it gets them only if it has parameters of these names.
_OFFERED = (*COMMON, "layer_name")


def innermost(function: Any) -> Any:
    """Returns the function the user wrote, inside our decorators and functools.partial."""
    import functools

    function = getattr(function, "_signature_of", function)
    while isinstance(function, functools.partial):
        function = function.func
    return function


def name_of(function: Callable[..., Any]) -> str:
    inner = innermost(function)
    return getattr(inner, "__name__", type(inner).__name__)


def pickled(value: Any, *arguments: Any) -> Any:
    """Implements __reduce__: by qualified name, as functions are pickled, else by constructor."""
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return value.__qualname__ if found is value else (type(value), arguments)


def _parameters(function: Callable[..., Any], name: str, what: str) -> list[inspect.Parameter]:
    """Returns the parameters, the first of which takes the list of `what`."""
    import inspect
    from inspect import Parameter

    models = Parameter("models", Parameter.POSITIONAL_ONLY)
    given = getattr(function, "_signature_of", function)
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # some functions in C have no signature
        return [models]
    parameters = list(signature.parameters.values())
    if inspect.isbuiltin(given):  # numpy's declare **kwargs and reject unknown ones
        parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    if not parameters or parameters[0].kind is Parameter.VAR_KEYWORD:
        raise ArgumentError(f"{name}(): expected a parameter for the list of {what}, found none")
    if parameters[0].kind is Parameter.VAR_POSITIONAL:
        around = parameters[-1].kind is Parameter.VAR_KEYWORD
        if not around or models.name in signature.parameters:
            found = parameters[0].name
            raise ArgumentError(
                f"{name}(): expected a first parameter that takes the list of {what}, "
                f"found *{found}: write {name}({found})"
            )
        parameters.insert(0, models)  # a wrapper of another function: (*args, **kwargs)
    return parameters


def _check_plain(function: Callable[..., Any], name: str) -> None:
    """Raises unless a call returns the result itself."""
    import inspect

    inner = innermost(function)
    for each in (inner, getattr(type(inner), "__call__", None)):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            raise ArgumentError(f"{name}(): expected a plain function, found an async one")
        if inspect.isgeneratorfunction(each):
            raise ArgumentError(f"{name}(): expected a plain function, found a generator")


class Callee:
    """A function and its parameters. Arguments are kept by name, those for *args as STAR.

    decorator: named in errors. what: what the list in the first parameter holds.
    """

    STAR = "*"

    def __init__(self, function: Callable[..., Any], decorator: str, what: str) -> None:
        if not callable(function):
            found = type(function).__name__
            raise ArgumentError(f"{decorator}(): expected a function, found {found}")
        self.function = function
        self.name = name_of(function)
        _check_plain(function, self.name)
        self.parameters = _parameters(function, self.name, what)
        stars = {p.kind for p in self.parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        self.names = [p.name for p in self.parameters if p.kind not in stars]
        self.takes_any = any(p.kind is p.VAR_KEYWORD for p in self.parameters)
        # A wrapper (*args, **kwargs) does not reveal whether the wrapped function takes layer_name.
        kinds = [p.kind.name for p in self.parameters]
        self._by_name = "POSITIONAL_ONLY" not in kinds
        wrapper = kinds == ["POSITIONAL_ONLY", "VAR_POSITIONAL", "VAR_KEYWORD"]
        self.takes_layer_name = "layer_name" in self.names or (self.takes_any and not wrapper)

    def accepts(self, name: str) -> bool:
        return self.takes_any or name in self.names

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns arguments by name, without common keywords that the function does not take."""
        star = any(p.kind is p.VAR_POSITIONAL for p in self.parameters)
        places = [
            p.name
            for p in self.parameters
            if p.name in self.names and not (star and p.kind is p.KEYWORD_ONLY)
        ]
        if len(args) > len(places) and not star:
            raise ArgumentError(
                f"{self.name}() takes {len(places)} positional arguments, found {len(args)}"
            )
        bound = dict(zip(places, args))
        if len(args) > len(places):
            bound[self.STAR] = args[len(places) :]
        for name, value in kwargs.items():
            if name in bound:
                raise ArgumentError(f"{self.name}() got multiple values for argument '{name}'")
            if self.accepts(name):
                bound[name] = value
            elif name not in _OFFERED:
                raise unknown_keyword(self.name, name, [*self.names, *COMMON])
        return bound

    def require(self, given: Iterable[str]) -> None:
        """Raises if a required argument is missing."""
        for parameter in self.parameters:
            required = parameter.name in self.names and parameter.default is parameter.empty
            if required and parameter.name not in given:
                raise ArgumentError(f"{self.name}() misses the argument '{parameter.name}'")

    def caller(self, arguments: Mapping[str, Any]) -> Callable[..., Any]:
        """Returns what to call with these arguments as keywords; `arguments` may be incomplete."""
        if self._by_name and self.STAR not in arguments:
            return self.function
        return lambda **given: self(given)

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        if self._by_name and self.STAR not in arguments:
            return self.function(**arguments)
        rest = dict(arguments)
        extra = rest.pop(self.STAR, ())
        kinds = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD") if extra else ("POSITIONAL_ONLY",)
        first = [p for p in self.parameters if p.kind.name in kinds]
        while first and first[-1].name not in rest:
            first.pop()
        positional = [rest.pop(p.name, p.default) for p in first]
        return self.function(*positional, *extra, **rest)
