"""The built-in merge methods, made from the library's descriptors: names, parameters, help."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _core, _tensors
from ._arguments import COMMON, Options
from ._callee import pickled
from ._errors import ArgumentError, UsageError, unknown_keyword, warn
from ._inputs import Input, find_kept, open_inputs, split_base
from ._merge import Merge
from ._modules import NAME
from ._outputs import check_task
from ._statistics import OBSERVED, data_of, sides_of, soup_of

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    import inspect
    from collections.abc import Sequence
    from typing import Any

    from ._tensors import Tensor

# Keywords that give a method what it takes from data.
_DATA = ("dataset", "datasets", "statistics")
_TYPES = {"number": "float", "integer": "int", "flag": "bool", "choice": "str"}
# Keywords of 0.x without an effect here: thresholds are exact, and the models of fisher are
# observed themselves instead of pipelines of the same models.
_OBSOLETE = {"ties": "full_quantile_computation", "fisher": "pipelines"}


class Method(Merge):
    """A merge method of the library, which runs in C on all CPUs.

    See Merge for the keywords of every merge.
    """

    def __init__(self, core: _core.Method) -> None:
        self._core = core
        self._params = {_argument(param["name"]): param for param in core.params}
        # "regmean++" is not a name in Python.
        self.__name__ = self.__qualname__ = core.name.replace("++", "_plus")
        self.__module__ = "mergecraft" if core.family != "mergekit" else "mergecraft.mergekit"

    def __reduce__(self) -> Any:
        return pickled(self, self._core)

    def __deepcopy__(self, memo: Any) -> Method:
        return self

    def __repr__(self) -> str:
        return f"<merge method {self.__name__}>"

    # ---- description -----------------------------------------------------------------------------

    def _default(self, param: dict[str, Any]) -> Any:
        if param["per_input"] or param["required"]:
            return None
        if param["type"] == "choice":
            return param["choices"][int(param["default"])]
        kinds = {"integer": int, "flag": bool, "number": float}
        return kinds[param["type"]](param["default"])

    def _names(self) -> list[str]:
        """The method's own arguments after `models`, in order."""
        first = ["base_index"] if self._core.needs_base else []
        data = ["dataset"] if self._from_data else []
        return [*first, *data, *self._core.sides, *self._params, *self._more_data]

    @property
    def _from_data(self) -> list[str]:
        """What a dataset gives: side inputs, or the weights of a greedy soup."""
        if self._core.name == "greedy_soup":
            return ["weights"]
        sides = list(self._core.sides)
        return sides if all(side in OBSERVED for side in sides) else []

    @property
    def _more_data(self) -> list[str]:
        """The keywords besides `dataset` that give it what it takes from data."""
        # A soup has weights instead of side inputs: one dataset scores all its members.
        return ["datasets", "statistics"] if self._from_data and self._core.sides else []

    @property
    def __signature__(self) -> inspect.Signature:
        from inspect import Parameter, Signature

        plain = Parameter.POSITIONAL_OR_KEYWORD
        made = [Parameter("models", plain, annotation="Sequence[Any]")]
        if self._core.needs_base:
            made.append(Parameter("base_index", plain, default=0, annotation="int | None"))
        if self._from_data:
            made.append(Parameter("dataset", plain, default=None, annotation="Any"))
        for name in self._core.sides:
            made.append(Parameter(name, plain, default=None, annotation="Sequence[Any] | None"))
        for name, param in self._params.items():
            kind = _TYPES[param["type"]]
            if param["per_input"]:
                kind = f"{kind} | Sequence[{kind}] | None"
            made.append(Parameter(name, plain, default=self._default(param), annotation=kind))
        kinds = {
            "datasets": "Sequence[Any] | None",
            "statistics": "Sequence[str | os.PathLike[str]] | None",
        }
        for name in self._more_data:
            made.append(Parameter(name, plain, default=None, annotation=kinds[name]))
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
                "    base_index: index of the models' common ancestor; or give base_model=."
            )
        if self._from_data:
            lines.append("    dataset: examples to observe each model on; see mergecraft.observe.")
        lines += [
            f"    {name}: one per model (without the base): dicts of tensors, or paths."
            for name in self._core.sides
        ]
        lines += [f"    {name}: {self._describe(param)}." for name, param in self._params.items()]
        texts = {
            "datasets": "instead of dataset, for models of different tasks: one per model",
            "statistics": "files of statistics, one per model; see mergecraft.observe",
        }
        lines += [f"    {name}: {texts[name]}." for name in self._more_data]
        lines += ["    Others: the keywords of every merge; see mergecraft.Merge.", ""]
        lines += [
            "Returns:",
            "    The same kind of thing as the models, with their shapes and widest dtypes.",
        ]
        return "\n".join(lines)

    def _describe(self, param: dict[str, Any]) -> str:
        text: str = param["help"]
        if param["choices"]:
            text += f": {' or '.join(repr(choice) for choice in param['choices'])}"
        elif param["minimum"] or param["maximum"]:
            text += f" ({param['minimum']:g} to {param['maximum']:g})"
        if param["per_input"]:
            text += "; one value, or one per model"
        return text

    # ---- calls -----------------------------------------------------------------------------------

    def __call__(self, models: Any, *args: Any, **kwargs: Any) -> Any:
        own = self._own(args, kwargs)
        given = [name for name in _DATA if own.get(name) is not None]
        if len(given) > 1:
            raise UsageError(f"{self.__name__}(): expected {given[0]} or {given[1]}, found both")
        if not given:
            if self._from_data and all(own.get(name) is None for name in self._from_data):
                files = "dataset, statistics=[FILE, …]" if self._core.sides else "dataset"
                raise ArgumentError(
                    f"{self.__name__}(): expected a {files} or {self._from_data[0]}=[…], found none"
                )
            return self._merged(models, own, kwargs, None)
        import tempfile

        with tempfile.TemporaryDirectory(prefix="mergecraft-") as folder:
            return self._merged(models, own, kwargs, folder)

    def _merged(
        self, models: Any, own: dict[str, Any], kwargs: Mapping[str, Any], folder: str | None
    ) -> Any:
        """Merges. folder: of statistics of a dataset, if there is one."""
        given = {name: kwargs[name] for name in COMMON if name in kwargs}
        options = Options(given, self.__name__)
        to_folder = options.out is not None
        sides = self._sides(own, options.verbose)
        dataset, datasets, statistics = (own.pop(name, None) for name in _DATA)
        inputs = open_inputs(models, options.verbose, to_folder)
        base_model = kwargs.get("base_model")
        index = own.pop("base_index", None)
        uses_base = self._core.needs_base or bool(options.then)
        if not uses_base and index is not None and base_model is None:
            inputs = self._counted(inputs, index, options)
            index = None
        if index is None and base_model is None and uses_base:
            if not self._core.needs_base:  # no signature shows that model 0 would be the base
                raise ArgumentError(
                    f"{self.__name__}(): then={options.then[0]!r} needs a base: expected "
                    "base_model= or base_index=, found neither"
                )
            index = 0
        rest, base, _ = split_base(
            inputs, index, base_model, self.__name__, options.verbose, to_folder
        )
        last = inputs[-1]
        if options.exclude:
            last = find_kept(options.given.get("keep"), inputs, rest, self.__name__)
        if not to_folder:
            options.given["task"] = check_task(last, options.given.get("task"))
        if folder is not None:
            found = [
                name
                for name in self._from_data
                if name in dict(sides) or own.get(name) is not None
            ]
            if found:
                raise UsageError(
                    f"{self.__name__}(): expected data, statistics or {found[0]}, found several"
                )
            data = data_of(dataset, datasets, len(rest))
            if not self._core.sides:
                own["weights"] = soup_of(rest, data or [], options.verbose, options.strict)
            else:
                sides = sides_of(
                    self._core.sides,
                    rest,
                    base,
                    data,
                    statistics,
                    self._texts(own),
                    folder,
                    options.verbose,
                    options.strict,
                )
        plan = _core.Plan(
            method=self._core,
            models=[each.core for each in rest],
            base=base.core if base else None,
            params=[*self._texts(own), *options.then_params],
            passthrough=options.passthrough,
            seed=options.seed,
            strict=options.strict,
            dtype=options.dtype,
            origin=None,
            text=None,
            exclude=options.exclude,
            keep=rest.index(last) + 1 if options.exclude else 0,
            then=options.then,
            matrices=options.matrices,
            sides=sides,
            **options.vocabulary,
        )
        return self._finish(plan, last, options, {}, None, inputs[0])

    def _sides(
        self, own: dict[str, Any], verbose: bool | None
    ) -> list[tuple[str, list[_core.Model]]]:
        """Takes the side inputs out of the arguments and returns those that are set."""
        given = {name: own.pop(name, None) for name in self._core.sides}
        return [
            (name, [each.core for each in self._side(name, values, verbose)])
            for name, values in given.items()
            if values is not None
        ]

    def _side(self, name: str, values: Any, verbose: bool | None) -> list[Input]:
        """Returns a side input of the method: one model per input model."""
        if isinstance(values, (str, os.PathLike, Mapping)) or not hasattr(values, "__iter__"):
            found = type(values).__name__
            raise ArgumentError(f"{self.__name__}(): {name}: expected a list, found {found}")
        items = [Input(v, f"{name}[{i}]", verbose=verbose) for i, v in enumerate(list(values))]
        for each in items:
            if each.kind == NAME:  # of a file of mergecraft.observe
                _core.take_side(each.core, name)
        return items

    def _counted(self, inputs: list[Input], index: Any, options: Options) -> list[Input]:
        """Returns the models of a method that has no base, although base_index names one.

        As in 0.x, that model is merged like the others, but not averaged in passthrough layers.
        """
        import fnmatch

        split_base(inputs, index, None, self.__name__, options.verbose)  # checks the index
        base = inputs[int(index)]
        warn(f"{self.__name__}() uses no base: {base.label} is merged like the others")
        if not options.passthrough:
            return inputs
        kept = _core.Dict()
        for name, source in base.core.dict.items():
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in options.passthrough):
                kept.set(name, source)
        return [each if each is not base else each.with_tensors(kept) for each in inputs]

    def layer(
        self, tensors: Sequence[Tensor], base: Tensor = None, *, layer_name: str = "", **params: Any
    ) -> Tensor:
        """Merges plain tensors, such as those a layer function gets: one per model.

        The tensors have one shape, and one of torch's or numpy's float dtypes each; so has the
        result, which has the widest of their dtypes, and no gradients.

        base: the base's tensor, for methods that need one. Further lists of the method, such as
        fisher's `fishers`, are lists of tensors. layer_name: random numbers depend on it and on the
        keyword `seed`.

        Raises:
            MismatchError: shapes differ. ArgumentError: not tensors. UsageError: a parameter.
        """
        seed = Options({"seed": params.pop("seed", None)}, self.__name__).seed
        own = self._own((), params)
        name = layer_name or "layer"
        models = _all_wrapped(tensors, name, "tensors")
        sides = [
            (each, _all_wrapped(own.pop(each), name, each))
            for each in self._core.sides
            if own.get(each) is not None
        ]
        if not models:
            raise UsageError(f"{self.__name__}.layer(): expected tensors, found an empty list")
        if any(_tensors.is_computed(tensor) for tensor in [*tensors, base]):
            warn(f"{self.__name__}.layer(): gradients do not flow through built-in methods")
        plan = _core.Plan(
            method=self._core,
            models=models,
            base=None if base is None else _wrapped(base, name, "base"),
            params=self._texts(own),
            passthrough=[],
            seed=seed,
            strict=False,
            dtype=None,
            origin=None,
            text=None,
            sides=sides,
        )
        (made,) = dict(plan.materialize().items()).values()
        for line in plan.report:
            warn(line)
        return _tensors.like(_tensors.from_source(made, share=True), tensors[-1])

    # ---- arguments -------------------------------------------------------------------------------

    def _own(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Returns the method's own arguments by name."""
        names = self._names()
        if len(args) > len(names):
            listed = "".join(", " + name for name in names)
            raise ArgumentError(
                f"{self.__name__}() takes at most {len(names) + 1} positional arguments "
                f"(models{listed}), found {len(args) + 1}"
            )
        own = dict(zip(names, args))
        for name, value in kwargs.items():
            if name in own:
                raise ArgumentError(f"{self.__name__}() got multiple values for argument '{name}'")
            if name in names or name == "base_index":
                own[name] = value
            elif name == _OBSOLETE.get(self.__name__):
                warn(f"{self.__name__}(): {name} has no effect")
            elif name not in COMMON:
                raise unknown_keyword(self.__name__, name, [*names, *COMMON])
        return own

    def _texts(self, own: dict[str, Any]) -> list[str]:
        """Returns 'NAME=VALUE' for each parameter that is set."""
        return [
            f"{self._params[name]['name']}={self._text(name, value)}"
            for name, value in own.items()
            if value is not None
        ]

    def _text(self, name: str, value: Any) -> str:
        if self._params[name]["per_input"] and not isinstance(value, (str, int, float)):
            return ",".join(self._one(name, item) for item in self._items(name, value))
        return self._one(name, value)

    def _one(self, name: str, value: Any) -> str:
        kind = self._params[name]["type"]
        if kind == "choice":
            return str(value)
        if kind == "flag":
            return self._flag(name, value)
        return self._number(name, value)

    def _items(self, name: str, value: Any) -> list[Any]:
        if isinstance(value, (Mapping, set, frozenset)):
            found = type(value).__name__
            raise UsageError(f"{self.__name__}(): {name}: expected a list, found {found}")
        items = list(value) if hasattr(value, "__iter__") else [value]
        if not items:
            raise UsageError(f"{self.__name__}(): {name}: expected numbers, found an empty list")
        return items

    def _flag(self, name: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        if value != 0 and value != 1:
            raise UsageError(
                f"{self.__name__}(): {name}: expected True or False, found {value!r}"
            )
        return "true" if value else "false"

    def _number(self, name: str, value: Any) -> str:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise UsageError(
                f"{self.__name__}(): {name}: expected a number, found {value!r}"
            ) from None
        return repr(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _argument(name: str) -> str:
    """Returns the argument for a parameter: 'lambda_' for 'lambda', a keyword of Python."""
    import keyword

    return f"{name}_" if keyword.iskeyword(name) else name


def _all_wrapped(tensors: Sequence[Tensor], name: str, label: str) -> list[_core.Model]:
    return [_wrapped(tensor, name, f"{label}[{i}]") for i, tensor in enumerate(tensors)]


def _wrapped(tensor: Tensor, name: str, label: str) -> _core.Model:
    """Returns a model of one tensor."""
    if not _tensors.is_tensor(tensor):
        raise ArgumentError(f"{label}: expected a tensor, found {type(tensor).__name__}")
    core = _core.Dict()
    core.set(name, _tensors.to_source(tensor, label))
    return _core.wrap_model(label, core, None, None)


def methods_of(family: str) -> dict[str, Method]:
    """Returns the built-in methods of a family by name."""
    made = [Method(core) for core in _core.methods() if core.family == family]
    return {method.__name__: method for method in made}


def load_methods(path: str | os.PathLike[str]) -> dict[str, Method]:
    """Compiles the C file `path`, or opens a shared object, and returns its methods by name.

    Runs the file's code.

    Raises:
        CompileError: the file does not compile. NotFoundError, FormatError.
    """
    cores = _core.open_plugin(_tensors.path_of(path, "methods"))
    return {core.name: Method(core) for core in cores}
