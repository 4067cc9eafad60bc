"""The built-in merge methods, made from the library's list: names, parameters and help are its own."""

from __future__ import annotations

import os

from . import _core
from ._arguments import COMMON, Options
from ._callee import pickled
from ._errors import ArgumentError, UsageError, unknown_keyword
from ._inputs import open_inputs, split_base
from ._merge import Merge
from ._outputs import check_task
from ._tensors import path_of

TYPE_CHECKING = False  # typing is not imported when the program runs
if TYPE_CHECKING:
    import inspect
    from typing import Any

_TYPES = {
    "number": "float",
    "integer": "int",
    "flag": "bool",
    "choice": "str",
    "numbers": "list[float] | None",
}


class Method(Merge):
    """A merge method of the library. It runs in C, on all processors; see Merge for the keywords of every merge."""

    def __init__(self, core: _core.Method) -> None:
        self._core = core
        self._params = {param["name"]: param for param in core.params}
        self.__name__ = self.__qualname__ = core.name
        self.__module__ = "mergecraft"

    def __reduce__(self) -> Any:
        return pickled(self, self._core)

    def __deepcopy__(self, memo: Any) -> Method:
        return self

    def __repr__(self) -> str:
        return f"<merge method {self.__name__}>"

    def _default(self, param: dict[str, Any]) -> Any:
        if param["type"] == "numbers":
            return None
        if param["type"] == "choice":
            return param["choices"][int(param["default"])]
        kinds = {"integer": int, "flag": bool, "number": float}
        return kinds[param["type"]](param["default"])

    def _names(self) -> list[str]:
        """Its own arguments after `models`, in order."""
        return [*(["base_index"] if self._core.needs_base else []), *self._params]

    @property
    def __signature__(self) -> inspect.Signature:
        from inspect import Parameter, Signature

        made = [Parameter("models", Parameter.POSITIONAL_OR_KEYWORD, annotation="Sequence[Any]")]
        if self._core.needs_base:
            made.append(
                Parameter(
                    "base_index",
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=0,
                    annotation="int | None",
                )
            )
        for name, param in self._params.items():
            made.append(
                Parameter(
                    name,
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=self._default(param),
                    annotation=_TYPES[param["type"]],
                )
            )
        taken = [p.name for p in made]
        made += [
            Parameter(n, Parameter.KEYWORD_ONLY, default=None) for n in COMMON if n not in taken
        ]
        return Signature(made)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        lines = [f"{self._core.help[:1].upper()}{self._core.help[1:]}.", ""]
        if self._core.paper:
            lines += [f"{self._core.paper}", ""]
        lines += [
            "Args:",
            "    models: ids or paths, modules, pipelines, or dicts; all of one kind.",
        ]
        if self._core.needs_base:
            lines.append(
                "    base_index: which of the models the others were tuned from; or give base_model=."
            )
        lines += [f"    {name}: {self._describe(param)}." for name, param in self._params.items()]
        lines += ["    Others: the keywords of every merge; see mergecraft.Merge.", ""]
        lines += [
            "Returns:",
            "    The same kind of thing as the models: shapes are those of the models, dtypes the widest of theirs.",
        ]
        return "\n".join(lines)

    def _describe(self, param: dict[str, Any]) -> str:
        text: str = param["help"]
        if param["choices"]:
            text += f": {' or '.join(repr(choice) for choice in param['choices'])}"
        elif param["minimum"] or param["maximum"]:
            text += f" ({param['minimum']:g} to {param['maximum']:g})"
        return text

    def __call__(self, models: Any, *args: Any, **kwargs: Any) -> Any:
        own = self._own(args, kwargs)
        options = Options({name: kwargs[name] for name in COMMON if name in kwargs}, self.__name__)
        to_folder = options.out is not None
        inputs = open_inputs(models, options.verbose, to_folder)
        base_model = kwargs.get("base_model")
        index = own.pop("base_index", None)
        if index is None and base_model is None and self._core.needs_base:
            index = 0
        rest, base, _ = split_base(
            inputs, index, base_model, self.__name__, options.verbose, to_folder
        )
        if not to_folder:
            options.given["task"] = check_task(inputs[-1], options.given.get("task"))
        plan = _core.Plan(
            method=self._core,
            models=[given.core for given in rest],
            base=base.core if base else None,
            params=[
                f"{name}={self._text(name, value)}"
                for name, value in own.items()
                if value is not None
            ],
            passthrough=options.passthrough,
            seed=options.seed,
            strict=options.strict,
            dtype=options.dtype,
            origin=None,
            text=None,
        )
        return self._finish(plan, inputs[-1], options, {}, None)

    def _own(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Its own arguments, by name."""
        names = self._names()
        if len(args) > len(names):
            raise ArgumentError(
                f"{self.__name__}() takes at most {len(names) + 1} positional arguments (models"
                f"{''.join(', ' + name for name in names)}), found {len(args) + 1}"
            )
        own = dict(zip(names, args))
        for name, value in kwargs.items():
            if name in own:
                raise ArgumentError(f"{self.__name__}() got multiple values for argument '{name}'")
            if name in self._params or name == "base_index":
                own[name] = value
            elif name not in COMMON:
                raise unknown_keyword(self.__name__, name, [*names, *COMMON])
        return own

    def _text(self, name: str, value: Any) -> str:
        kind = self._params[name]["type"]
        if kind == "numbers":
            return ",".join(self._number(name, item) for item in self._items(name, value))
        if kind == "choice":
            return str(value)
        if kind == "flag":
            return "true" if value else "false"
        return self._number(name, value)

    def _items(self, name: str, value: Any) -> list[Any]:
        if isinstance(value, (str, int, float)) or not hasattr(value, "__iter__"):
            raise UsageError(
                f"{self.__name__}(): {name}: expected a list of numbers, found {value!r}"
            )
        items = list(value)
        if not items:
            raise UsageError(
                f"{self.__name__}(): {name}: expected a list of numbers, found an empty one"
            )
        return items

    def _number(self, name: str, value: Any) -> str:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"{self.__name__}(): {name}: expected a number, found {value!r}"
            ) from None
        return repr(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def all_methods() -> dict[str, Method]:
    """The built-in methods by name; of one name in several families, that of mergecraft's own."""
    found: dict[str, Method] = {}
    for core in _core.methods():
        if core.family == "mergecraft" or core.name not in found:
            found[core.name] = Method(core)
    return found


def load_methods(path: str | os.PathLike[str]) -> dict[str, Method]:
    """The merge methods of a C file, which is compiled on the spot, or of a shared object. Runs the file's code.

    Raises:
        CompileError: the text is the compiler's. NotFoundError, FormatError.
    """
    return {core.name: Method(core) for core in _core.open_plugin(path_of(path, "methods"))}
