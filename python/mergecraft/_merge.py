"""dict_map, model_merge, layer_merge: a function on layers or state dicts becomes one on models."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

from . import _core, _tensors
from ._errors import ArgumentError, MergeWarning, MismatchError, UsageError
from ._models import Input, hand_back, open_inputs
from ._tensors import path_of
from ._progress import Progress
from ._state_dict import StateDict, as_state_dict

TYPE_CHECKING = False  # typing is not imported when the program runs
if TYPE_CHECKING:
    import inspect
    from typing import Any, overload

    from ._tensors import Tensor
else:

    def overload(function):
        return function


# Keywords that every merge takes; passed on to a function only if it has them too.
COMMON = (
    "task",
    "device",
    "verbose",
    "passthrough_layers",
    "passthrough",
    "base_index",
    "base_model",
    "out",
    "dtype",
    "seed",
    "strict",
    "threads",
    "memory",
    "shard_size",
    "overwrite",
    "sync",
)
_MISSING: Any = object()

# What a function may be given beside its own arguments.
_OFFERED = (*COMMON, "layer_name")


def unknown_keyword(function: str, name: str, known: Iterable[str]) -> ArgumentError:
    """The error for a keyword that nobody knows."""
    import difflib

    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return ArgumentError(f"{function}() got an unexpected keyword argument '{name}'{hint}")


def _innermost(function: Any) -> Any:
    """The function that the user wrote, below decorators of ours and functools.partial."""
    import functools

    function = getattr(function, "_signature_of", function)
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name_of(function: Callable[..., Any]) -> str:
    inner = _innermost(function)
    return getattr(inner, "__name__", type(inner).__name__)


def _parameters(function: Callable[..., Any], name: str, what: str) -> list[inspect.Parameter]:
    """Its parameters, the first of which is the one for `what`."""
    import inspect
    from inspect import Parameter

    models = Parameter("models", Parameter.POSITIONAL_ONLY)
    given = getattr(function, "_signature_of", function)
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # some functions in C have none
        return [models]
    parameters = list(signature.parameters.values())
    if inspect.isbuiltin(given):  # those of numpy say so of all keywords, and do not take them
        parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    if not parameters or parameters[0].kind is Parameter.VAR_KEYWORD:
        raise ArgumentError(f"{name}(): expected a function with a parameter for the list of {what}")
    if parameters[0].kind is Parameter.VAR_POSITIONAL:
        if parameters[-1].kind is not Parameter.VAR_KEYWORD or models.name in signature.parameters:
            raise ArgumentError(
                f"{name}(): expected a first parameter that takes the list of {what}, found *{parameters[0].name}: "
                f"write {name}({parameters[0].name})"
            )
        parameters.insert(0, models)  # around another function: (*args, **kwargs)
    return parameters


def _check_plain(function: Callable[..., Any], name: str) -> None:
    """That a call gives the result itself."""
    import inspect

    inner = _innermost(function)
    for each in (inner, getattr(type(inner), "__call__", None)):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            raise ArgumentError(f"{name}(): expected a plain function, found an async one")
        if inspect.isgeneratorfunction(each):
            raise ArgumentError(f"{name}(): expected a plain function, found a generator")


class Callee:
    """A function of the user's, and how it is called: arguments are known by their names, those for *args as STAR.

    decorator: what is said to have been given it. what: of what its first parameter takes a list.
    """

    STAR = "*"

    def __init__(self, function: Callable[..., Any], decorator: str, what: str) -> None:
        if not callable(function):
            raise ArgumentError(f"{decorator}(): expected a function, found {type(function).__name__}")
        self.function = function
        self.name = _name_of(function)
        _check_plain(function, self.name)
        self.parameters = _parameters(function, self.name, what)
        self.names = [p.name for p in self.parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.takes_any = any(p.kind is p.VAR_KEYWORD for p in self.parameters)
        # Of (*args, **kwargs), which is around another function, nobody knows whether that takes it.
        around = [p.kind.name for p in self.parameters] == ["POSITIONAL_ONLY", "VAR_POSITIONAL", "VAR_KEYWORD"]
        self.takes_layer_name = "layer_name" in self.names or (self.takes_any and not around)

    def accepts(self, name: str) -> bool:
        return self.takes_any or name in self.names

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, without those that the function does not take and need not."""
        star = any(p.kind is p.VAR_POSITIONAL for p in self.parameters)
        places = [p.name for p in self.parameters if p.name in self.names and not (star and p.kind is p.KEYWORD_ONLY)]
        if len(args) > len(places) and not star:
            raise ArgumentError(f"{self.name}() takes {len(places)} positional arguments, found {len(args)}")
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
        """That no argument is missing."""
        for parameter in self.parameters:
            if parameter.name in self.names and parameter.default is parameter.empty and parameter.name not in given:
                raise ArgumentError(f"{self.name}() misses the argument '{parameter.name}'")

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        rest = dict(arguments)
        extra = rest.pop(self.STAR, ())
        kinds = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD") if extra else ("POSITIONAL_ONLY",)
        first = [p for p in self.parameters if p.kind.name in kinds]
        while first and first[-1].name not in rest:
            first.pop()
        positional = [rest.pop(p.name, p.default) for p in first]
        return self.function(*positional, *extra, **rest)


def _pickled(value: Any, *arguments: Any) -> Any:
    """For __reduce__: by its name, as functions are, or else how it is made."""
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return value.__qualname__ if found is value else (type(value), arguments)


def warn(text: str) -> None:
    """A MergeWarning at the line that called the package."""
    here = os.path.dirname(__file__)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == here:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, MergeWarning, stacklevel=level)


def _found(value: Any) -> str:
    """What a method returned instead of a tensor, in words."""
    fields = getattr(value, "_fields", None) or [n for n in ("values", "indices") if hasattr(type(value), n)]
    if "values" in fields and isinstance(value, tuple):
        return f"{type(value).__name__} with values and indices (take .values)"
    return type(value).__name__


# ---- dict_map -----------------------------------------------------------------------------------------


class DictMap:
    """What `dict_map` makes of a function on one layer: a function on state dicts."""

    def __init__(self, function: Callable[..., Any], names: Sequence[str] | None, decorator: str = "dict_map") -> None:
        import functools

        if isinstance(function, (DictMap, Merge)):
            raise ArgumentError(f"{decorator}(): expected a function on one layer, found {function!r}")
        self.callee = Callee(function, decorator, "tensors")
        self.function = function
        functools.update_wrapper(self, _innermost(function), updated=())
        self.__wrapped__ = self._signature_of = function
        self.__name__ = self.callee.name
        self.given_names = names
        self.names = list(names) if names is not None else self.callee.names[:1]
        if not self.names:
            raise ArgumentError(f"{self.name}(): expected names of parameters, found an empty list")
        for name in self.names:
            if name not in self.callee.names:
                raise unknown_keyword(self.name, name, self.callee.names)

    @property
    def name(self) -> str:
        return self.callee.name

    def __get__(self, owner: Any, kind: type | None = None) -> DictMap:
        """In a class, a function that begins with `self` is a method."""
        if owner is None or self.callee.names[0] != "self":
            return self
        return DictMap(self.function.__get__(owner), self.given_names)

    def __reduce__(self) -> Any:
        return _pickled(self, self.function, self.given_names)

    def __call__(self, *args: Any, **kwargs: Any) -> StateDict:
        strict = bool(kwargs.get("strict")) if "strict" not in self.callee.names else False
        return self.run(self.callee.bind(args, kwargs), strict, kwargs.get("verbose"))

    def run(
        self, arguments: Mapping[str, Any], strict: bool, verbose: bool | None, base: StateDict | None = None
    ) -> StateDict:
        """The call, with arguments by their names. base: gives the argument base_model of each layer."""
        lists = {name: self._dicts(name, arguments) for name in self.names}
        self.callee.require([*arguments, "layer_name"])
        common = self._line_up(lists, strict)
        rest = {name: value for name, value in arguments.items() if name not in lists}
        made = StateDict()
        with Progress(self.name, verbose, "layers") as progress:
            for done, layer in enumerate(common):
                if base is not None:
                    rest["base_model"] = base._layer(layer)
                made[layer] = self._layer(layer, lists, rest)
                progress(done + 1, len(common))
        return made

    def _dicts(self, name: str, arguments: Mapping[str, Any]) -> list[StateDict]:
        if name not in arguments:
            raise ArgumentError(f"{self.name}() misses the argument '{name}', a list of state dicts")
        value = arguments[name]
        if isinstance(value, (str, Mapping)) or not hasattr(value, "__iter__") or _tensors.is_module(value):
            raise ArgumentError(f"{self.name}(): {name}: expected a list of state dicts, found {type(value).__name__}")
        dicts = [as_state_dict(item, f"{name}[{i}]") for i, item in enumerate(value)]
        if not dicts:
            raise UsageError(f"{self.name}(): {name}: expected state dicts, found an empty list")
        return dicts

    def _line_up(self, lists: Mapping[str, list[StateDict]], strict: bool) -> list[str]:
        """The names that all dicts have, in the first one's order."""
        counts = {name: len(dicts) for name, dicts in lists.items()}
        if len(set(counts.values())) > 1:
            raise UsageError(f"{self.name}(): expected lists of one length, found {counts}")
        dicts = [item for items in lists.values() for item in items]
        common = [name for name in dicts[0] if all(name in other for other in dicts)]
        missing = dict.fromkeys(name for item in dicts for name in item if not all(name in d for d in dicts))
        if not common:
            raise MismatchError(f"{self.name}(): the state dicts have no name in common")
        if missing:
            few = ", ".join(list(missing)[:3]) + (", …" if len(missing) > 3 else "")
            text = f"{self.name}(): {len(missing)} tensors are not in all state dicts and left out: {few}"
            if strict:
                raise MismatchError(f"{text} (strict)")
            warn(text)
        for layer in common:
            self._check_shapes(layer, lists)
        return common

    def _check_shapes(self, layer: str, lists: Mapping[str, list[StateDict]]) -> None:
        first = lists[self.names[0]][0]._shape(layer)
        for name, dicts in lists.items():
            for i, item in enumerate(dicts):
                if item._shape(layer) != first:
                    raise MismatchError(
                        f"layer '{layer}': shape {list(first)} in {self.names[0]}[0], {list(item._shape(layer))} in {name}[{i}]"
                    )

    def _layer(self, layer: str, lists: Mapping[str, list[StateDict]], rest: Mapping[str, Any]) -> Tensor:
        given = {name: [item._layer(layer) for item in dicts] for name, dicts in lists.items()}
        result = self.call(layer, given, rest)
        dtypes = [item._dtype(layer) for item in lists[self.names[0]]]
        if all(_core.is_float(dtype) for dtype in [*dtypes, _tensors.dtype_of(result)]):
            return _tensors.cast(result, widest(dtypes))
        return result

    def call(self, layer: str, given: Mapping[str, list[Tensor]], rest: Mapping[str, Any]) -> Tensor:
        """The function on one layer: a tensor."""
        arguments = {**rest, **given}
        if self.callee.takes_layer_name:
            arguments["layer_name"] = layer
        result = self.callee(arguments)
        if not _tensors.is_tensor(result):
            raise ArgumentError(f"{self.name}(): layer '{layer}': expected a tensor, found {_found(result)}")
        return _tensors.plain(result)

    def __repr__(self) -> str:
        return f"<dict_map of {self.name}>"


def widest(dtypes: Sequence[str]) -> str:
    """The narrowest float dtype that holds the values of all."""
    found = dtypes[0]
    for dtype in dtypes[1:]:
        found = _core.widest(found, dtype)
    return found


@overload
def dict_map(function: Callable[..., Any]) -> DictMap: ...
@overload
def dict_map(function: str | Sequence[str] | None = None) -> Callable[[Callable[..., Any]], DictMap]: ...
def dict_map(function: Any = None) -> Any:
    """Makes a function on state dicts of a function on one layer.

    ``@dict_map``, ``@dict_map()``, or ``@dict_map(['models', 'hessians'])`` with the names of the arguments that are lists of dicts
    (otherwise the first). The function is called for every name that all the dicts have, in the first dict's order, with lists of the
    tensors under it, and returns a tensor; the other arguments are handed on as they are, `layer_name` to functions that accept it.
    It may be anything that can be called with a list as its first argument: a function, a method, functools.partial, an object.

    Tensors come as float32 (float64 stays; what is not a float stays) and are the function's own: changing them changes no
    input. A float result is rounded to the widest dtype of the layer's tensors in the first list.

    Raises (when it decorates):
        ArgumentError: it takes no list (``*models``), or is async or a generator.
    Raises (when called):
        MismatchError: no name is common; shapes of a layer differ. A name that some lack is left out, with a MergeWarning; with
            strict=True it is an error.
        ArgumentError: the function returns something else than a tensor.
        UsageError: lists that are empty, or not of one length.
    """
    if function is None:
        return lambda decorated: DictMap(decorated, None)
    if isinstance(function, str):
        return lambda decorated: DictMap(decorated, [function])
    if callable(function):
        return DictMap(function, None)
    if not isinstance(function, (list, tuple)) or not all(isinstance(name, str) for name in function):
        raise ArgumentError(f"dict_map(): expected a function or names of its parameters, found {function!r}")
    return lambda decorated: DictMap(decorated, function)


# ---- merges -------------------------------------------------------------------------------------------


def _float_dtype(dtype: Any) -> str:
    name = _tensors.dtype_named(dtype)
    if not name or not _core.is_float(name):
        raise UsageError(f"dtype: expected one of floats, as 'f32' or 'bf16', found {dtype!r}")
    return name


_LIMITS = {"threads": (0, 2**31 - 1), "memory": (0, 2**63 - 1)}


class Options:
    """The keywords that every merge takes."""

    def __init__(self, given: Mapping[str, Any], function: str) -> None:
        self.given = dict(given)
        passthrough = [*_patterns(given, "passthrough_layers"), *_patterns(given, "passthrough")]
        self.passthrough = list(dict.fromkeys(passthrough))
        self.dtype = _float_dtype(given["dtype"]) if given.get("dtype") is not None else None
        self.seed = whole("seed", given.get("seed"), -(2**63), 2**64 - 1) % 2**64
        self.strict = bool(given.get("strict", False))
        self.verbose = given.get("verbose")
        self.out = None if given.get("out") is None else path_of(given["out"], "out")
        self.run: dict[str, Any] = {name: whole(name, given[name], *limits) for name, limits in _LIMITS.items() if name in given}
        self.files: dict[str, Any] = {name: bool(given[name]) for name in ("overwrite", "sync") if given.get(name) is not None}
        if given.get("shard_size") is not None:
            self.files["shard_size"] = whole("shard_size", given["shard_size"], 0, 2**63 - 1)
        if self.files and self.out is None:
            raise UsageError(f"{function}(): {next(iter(self.files))}: expected out='FOLDER' with it")


def _patterns(given: Mapping[str, Any], name: str) -> list[str]:
    value = given.get(name)
    if value is None:
        return []
    patterns = [value] if isinstance(value, str) else list(value)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ArgumentError(f"{name}: expected names of layers, found {type(pattern).__name__}")
    return patterns


def whole(name: str, value: Any, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number, 0 for None."""
    import operator

    try:
        number = 0 if value is None else operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name}: expected a whole number, found {value!r}") from None
    if not least <= number <= most:
        raise UsageError(f"{name}: expected a whole number from {least} to {most}, found {number}")
    return number


def _split_base(
    inputs: list[Input], index: Any, base_model: Any, function: str, verbose: bool | None
) -> tuple[list[Input], Input | None, int]:
    """Models, base, and the place in the list that the base had."""
    if base_model is not None:
        if index is not None:
            raise UsageError(f"{function}(): expected base_index or base_model, found both")
        return inputs, Input(base_model, "base_model", verbose=verbose), 0
    if index is None:
        return inputs, None, 0
    place = int(index) if hasattr(index, "__index__") else len(inputs)
    if not -len(inputs) <= place < len(inputs):
        raise UsageError(
            f"{function}(): base_index: expected a whole number from {-len(inputs)} to {len(inputs) - 1}, found {index!r}"
        )
    index = place % len(inputs)
    models = inputs[:index] + inputs[index + 1 :]
    if not models:
        raise UsageError(f"{function}(): expected models beside the base, found none")
    return models, inputs[index], index


class Merge:
    """A function on models: what the decorators make, and what the built-in methods are.

    Call it with a list of models of one kind: ids of the Hub or paths, modules of torch, pipelines, or dicts. The same kind of
    thing comes back: a pipeline for ids and paths, a copy of the last module or pipeline, a StateDict. The models never change.

    Keywords of every merge:
        passthrough_layers, passthrough: names, or shell patterns such as 'classifier.*', of layers that are averaged over
            the models instead (the base is never counted).
        base_index: which of the models is the base; base_model: a base apart from the list.
        out: a folder to write the result to, instead of handing it back; also `merge.to_folder(models, 'dir')`. With it
            shard_size (bytes), overwrite, sync (False: leave it to the system when data reaches the disk).
        task: what kind of pipeline to make ('text-classification'); otherwise the configuration tells.
        device: where the result goes. dtype: of the result's float tensors ('bf16'). seed: of methods that draw random numbers.
        strict: an error for what is otherwise a MergeWarning. verbose: a progress bar, or none. threads, memory (bytes).

    Raises:
        ArgumentError: mixed kinds; unknown keywords. UsageError: an empty list, a base that is missing, parameters out of range.
        MismatchError: shapes differ, no name is common. NotFoundError, FormatError: a model that cannot be opened.
    """

    __name__: str

    def __call__(self, models: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def to_folder(self, models: Any, out: str | os.PathLike[str], *args: Any, **kwargs: Any) -> str:
        """As the call, with the result written to a new folder, whose path is returned. Holds one layer of each model at a time.

        Raises:
            ExistsError: the folder exists, without overwrite=True.
        """
        return self(models, *args, out=out, **kwargs)  # type: ignore[no-any-return]

    def _finish(self, plan: _core.Plan, last: Input, options: Options, made: Mapping[str, Tensor], threads: int | None) -> Any:
        """Runs a plan: to a folder, or to what `last` is. made: tensors that are there already."""
        for line in plan.report:
            warn(line)
        run = {**options.run, **({"threads": threads} if threads else {})}
        with Progress(self.__name__, options.verbose) as progress:
            if options.out is not None:
                plan.run(options.out, progress=progress, **run, **options.files)
                return options.out
            tensors = _materialize(plan, made, run, progress)
        return hand_back(tensors, last, options.given.get("device"), {**options.given, "dtype": options.dtype})


def _materialize(plan: _core.Plan, made: Mapping[str, Tensor], run: Mapping[str, Any], progress: Progress) -> StateDict:
    """The plan's tensors in memory, without a copy of those that were made and have the right dtype."""
    ready = {name for name, dtype, _ in plan.lines if name in made and _tensors.dtype_of(made[name]) == dtype}
    rest = _core.Dict()
    lazy = plan.dict.items()
    for name, source in lazy:
        if name not in ready:
            rest.set(name, source)
    computed = dict(rest.materialize(progress=progress, **run).items())
    tensors = StateDict()
    for name, _ in lazy:
        tensors[name] = made[name] if name in ready else _tensors.from_source(computed[name], share=True)
    return tensors


class FunctionMerge(Merge):
    """A merge by a function of Python's on state dicts, or on layers (a DictMap)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        import functools

        self.callee = function.callee if isinstance(function, DictMap) else Callee(function, "model_merge", "state dicts")
        self.function = function
        functools.update_wrapper(self, _innermost(function), updated=())
        self.__wrapped__ = function
        self._signature_of = getattr(function, "_signature_of", function)
        self.__name__ = self.callee.name

    def __get__(self, owner: Any, kind: type | None = None) -> FunctionMerge:
        """In a class, a function that begins with `self` is a method."""
        if owner is None or self.callee.names[0] != "self":
            return self
        return FunctionMerge(self.function.__get__(owner))

    def __reduce__(self) -> Any:
        return _pickled(self, self.function)

    def __repr__(self) -> str:
        return f"<merge {self.__name__}>"

    def __call__(self, models: Any = _MISSING, *args: Any, **kwargs: Any) -> Any:
        first = self.callee.names[0]
        if models is _MISSING:  # by the name that the function has for it
            models = kwargs.pop(first, _MISSING)
        if models is _MISSING:
            raise ArgumentError(f"{self.__name__}() misses the argument '{first}', a list of models")
        own = self.callee.bind((models, *args), self._own_keywords(kwargs))
        del own[first]
        options = Options({name: value for name, value in {**kwargs, **own}.items() if name in COMMON}, self.__name__)
        inputs = open_inputs(models, options.verbose)
        base_model = options.given.get("base_model")
        index = options.given.get("base_index", self._default_index() if base_model is None else None)
        rest, base, place = _split_base(inputs, index, base_model, self.__name__, options.verbose)
        if options.out is not None:
            rest[-1].core = rest[-1].with_tokenizer()
        call = _Call(self, own, options, base, place)
        self.callee.require([first, *call.own, *call.filled])
        method = _core.Method(self.__name__, _first_line(self.function), call.uses_base, call.run)
        plan = _core.Plan(
            method=method,
            models=[given.core for given in rest],
            base=base.core if base else None,
            params=[],
            passthrough=options.passthrough,
            seed=options.seed,
            strict=options.strict,
            dtype=options.dtype,
            origin=_origin(self.function),
            text=_text(self.function),
        )
        options.given["keep"] = inputs[-1] is rest[-1]
        return self._finish(plan, inputs[-1], options, call.made, 1 if call.lazy else None)

    def _own_keywords(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords that the function is given."""
        for name in kwargs:
            if name not in COMMON and not self.callee.accepts(name):
                raise unknown_keyword(self.__name__, name, [*self.callee.names[1:], *COMMON])
        hidden = ("passthrough_layers", "passthrough", "verbose", "out", "base_model")
        named = self.callee.names
        return {
            name: value
            for name, value in kwargs.items()
            if name in named or (self.callee.takes_any and name not in hidden)
        }

    def _default_index(self) -> Any:
        found = [p.default for p in self.callee.parameters if p.name == "base_index" and p.default is not p.empty]
        return found[0] if found else None


def _first_line(function: Callable[..., Any]) -> str:
    text = (getattr(_innermost(function), "__doc__", None) or "").strip()
    return text.splitlines()[0] if text else ""


def _origin(function: Callable[..., Any]) -> str:
    code = getattr(_innermost(function), "__code__", None)
    return code.co_filename if code is not None else "<python>"


def _text(function: Callable[..., Any]) -> str | None:
    import inspect

    try:
        return inspect.getsource(_innermost(function))
    except (OSError, TypeError):
        return None


class _Call:
    """One call of a function on models, from the library's point of view: Dicts in, a Dict out."""

    def __init__(
        self,
        merge: FunctionMerge,
        own: dict[str, Any],
        options: Options,
        base: Input | None,
        place: int,
    ) -> None:
        self.merge, self.own, self.options = merge, own, options
        self.made: dict[str, Tensor] = {}
        self.place = place
        callee = merge.callee
        # The base comes as the argument base_model, or as one of the models for functions that know base_index.
        self.as_argument = base is not None and "base_model" in callee.names
        self.in_list = base is not None and not self.as_argument and callee.accepts("base_index")
        if options.given.get("base_model") is None and base is not None and not self.as_argument:
            self.in_list = True
        self.uses_base = self.as_argument or self.in_list
        if self.in_list and "base_index" in callee.names:
            self.own["base_index"] = place
        function = merge.function
        self.lazy = isinstance(function, DictMap) and len(function.names) == 1
        # What the function is given later.
        self.filled = (["base_model"] if self.as_argument else []) + (["layer_name"] if isinstance(function, DictMap) else [])

    def run(self, models: list[_core.Dict], base: _core.Dict | None) -> _core.Dict:
        dicts = [StateDict._of(model) for model in models]
        if base is not None and self.in_list:
            dicts.insert(self.place, StateDict._of(base))
        elif base is not None and self.as_argument:
            self.own["base_model"] = StateDict._of(base)
        if self.lazy:
            return self._layers(dicts)
        function, arguments = self.merge.function, {self.merge.callee.names[0]: dicts, **self.own}
        if isinstance(function, DictMap):
            base_of_layers = self.own["base_model"] if self.as_argument else None
            return self._checked(function.run(arguments, False, self.options.verbose, base_of_layers), dicts)
        return self._checked(self.merge.callee(arguments), dicts)

    def _layers(self, dicts: list[StateDict]) -> _core.Dict:
        """Tensors that are made when they are written, one at a time."""
        function: DictMap = self.merge.function  # type: ignore[assignment]
        made = _core.Dict()
        for layer in dicts[0]:
            dtype = self._dtype(layer, dicts)
            made.set(layer, _core.compute(dtype, dicts[0]._shape(layer), _Layer(self, function, layer, dicts, dtype)))
        return made

    def _dtype(self, layer: str, dicts: list[StateDict]) -> str:
        fine_tuned = [d for i, d in enumerate(dicts) if not (self.in_list and i == self.place)]
        return widest([item._dtype(layer) for item in fine_tuned])

    def check(self, layer: str, result: Any, dicts: list[StateDict]) -> Tensor:
        """That a result can take the layer's place."""
        name = self.merge.__name__
        if not _tensors.is_tensor(result):
            raise ArgumentError(f"{name}(): layer '{layer}': expected a tensor, found {_found(result)}")
        if not _core.is_float(_tensors.dtype_of(result)):
            raise ArgumentError(
                f"{name}(): layer '{layer}': expected a float tensor, found one of {_tensors.dtype_of(result)}"
            )
        try:
            _tensors.check_dense(result)
        except ValueError as error:
            raise ArgumentError(f"{name}(): layer '{layer}': {error}") from None
        if layer in dicts[0] and tuple(result.shape) != dicts[0]._shape(layer):
            raise MismatchError(
                f"{name}(): layer '{layer}': expected shape {list(dicts[0]._shape(layer))} as in the models, "
                f"found {list(result.shape)}"
            )
        return _tensors.plain(result)

    def _checked(self, result: Any, dicts: list[StateDict]) -> _core.Dict:
        name = self.merge.__name__
        if not isinstance(result, Mapping):
            raise ArgumentError(f"{name}(): expected a StateDict as its result, found {_found(result)}")
        made = _core.Dict()
        for layer in list(result):
            tensor = self.check(layer, result[layer], dicts)
            dtype = self._dtype(layer, dicts) if layer in dicts[0] else _tensors.dtype_of(tensor)
            self.made[layer] = tensor
            made.set(layer, _rounded(tensor, dtype))
        return made


def _rounded(tensor: Tensor, dtype: str) -> _core.Source:
    """A source of the tensor in a dtype, which it is rounded to when it is read."""
    if _tensors.dtype_of(tensor) == dtype:
        return _tensors.to_source(tensor)
    wide = _tensors.layer_dtype(dtype)
    return _core.compute(dtype, tuple(tensor.shape), lambda: _tensors.to_numpy(tensor, wide))


class _Layer:
    """Makes one layer when it is called."""

    def __init__(self, call: _Call, function: DictMap, layer: str, dicts: list[StateDict], dtype: str) -> None:
        self.call, self.function, self.layer, self.dicts, self.dtype = call, function, layer, dicts, dtype

    def __call__(self) -> Any:
        own = {name: value for name, value in self.call.own.items() if name != self.function.names[0]}
        if self.call.as_argument:
            own["base_model"] = own["base_model"]._layer(self.layer)
        tensors = [item._layer(self.layer) for item in self.dicts]
        result = self.function.call(self.layer, {self.function.names[0]: tensors}, own)
        checked = self.call.check(self.layer, result, self.dicts)
        return _tensors.to_numpy(checked, _tensors.layer_dtype(self.dtype))


@overload
def model_merge(function: Callable[..., Any]) -> FunctionMerge: ...
@overload
def model_merge(function: None = None) -> Callable[[Callable[..., Any]], FunctionMerge]: ...
def model_merge(function: Any = None) -> Any:
    """Makes a function on models of a function on a list of state dicts: ``@model_merge`` or ``@model_merge()``.

    The function gets a list of StateDict, which it may change, and returns a StateDict (or another dict) of float tensors; names that
    it leaves out are left out of a dict or a folder, and keep the last model's values in a module or a pipeline. It sees the layers that all models (and the base) have and that are floats; others
    are averaged or copied, with a MergeWarning. Further arguments are handed on; `task`, `base_index` and other keywords of
    every merge are passed only to functions that accept them. See Merge for those keywords.

    A function with a parameter `base_index` finds the base at that place of the list; one with a parameter `base_model` gets the base
    as a StateDict of its own.
    """
    return FunctionMerge(function) if function is not None else model_merge


@overload
def layer_merge(function: Callable[..., Any]) -> FunctionMerge: ...
@overload
def layer_merge(function: None = None) -> Callable[[Callable[..., Any]], FunctionMerge]: ...
def layer_merge(function: Any = None) -> Any:
    """Makes a function on models of a function on one layer: ``model_merge(dict_map(function))``.

    With out='FOLDER' (or to_folder) one layer of each model is in memory at a time; otherwise the result, and one layer of each.
    """
    if function is None:
        return layer_merge
    return FunctionMerge(function if isinstance(function, DictMap) else DictMap(function, None, "layer_merge"))
