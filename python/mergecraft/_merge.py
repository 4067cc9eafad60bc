"""dict_map, model_merge, layer_merge: turn functions on tensors into functions on models."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from . import _core, _names, _tensors
from ._arguments import COMMON, Options
from ._callee import Callee, innermost, pickled
from ._errors import ArgumentError, MismatchError, UsageError, counted, shown, unknown_keyword, warn
from ._inputs import Input, find_kept, open_inputs, split_base
from ._modules import DICT
from ._outputs import check_task, hand_back
from ._progress import Progress
from ._state_dict import StateDict, as_state_dict

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any, overload

    from ._tensors import Tensor
else:

    def overload(function):
        return function


_MISSING: Any = object()


def _found(value: Any) -> str:
    """Returns a description of what a function returned instead of a tensor."""
    fields = getattr(value, "_fields", None)
    fields = fields or [n for n in ("values", "indices") if hasattr(type(value), n)]
    if "values" in fields and isinstance(value, tuple):
        return f"{type(value).__name__} with values and indices (take .values)"
    return type(value).__name__


# ---- dict_map ------------------------------------------------------------------------------------


class DictMap:
    """A function on state dicts, which `dict_map` makes from a function on one layer."""

    def __init__(
        self,
        function: Callable[..., Any],
        names: Sequence[str] | None,
        decorator: str = "dict_map",
    ) -> None:
        import functools

        if isinstance(function, (DictMap, Merge)):
            raise ArgumentError(
                f"{decorator}(): expected a function on one layer, found {function!r}"
            )
        self.callee = Callee(function, decorator, "tensors")
        self.function = function
        functools.update_wrapper(self, innermost(function), updated=())
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
        """Makes a function whose first parameter is `self` a method of its class."""
        if owner is None or self.callee.names[0] != "self":
            return self
        return DictMap(self.function.__get__(owner), self.given_names)

    def __reduce__(self) -> Any:
        return pickled(self, self.function, self.given_names)

    def __call__(self, *args: Any, **kwargs: Any) -> StateDict:
        strict = bool(kwargs.get("strict")) if "strict" not in self.callee.names else False
        return self.run(self.callee.bind(args, kwargs), strict, kwargs.get("verbose"))

    def run(
        self,
        arguments: Mapping[str, Any],
        strict: bool,
        verbose: bool | None,
        base: StateDict | None = None,
    ) -> StateDict:
        """Calls the function on every layer. base: gives the argument base_model of each layer."""
        lists = {name: self._dicts(name, arguments) for name in self.names}
        self.callee.require([*arguments, "layer_name"])
        common, matched = self._line_up(lists, strict)
        rest = {name: value for name, value in arguments.items() if name not in lists}
        first = self.names[0]
        entries = [d._entries(own) for d, own in zip(lists[first], matched[first])]
        self._check_shapes(common, entries, lists[first], matched[first])
        dtype = _tensors.plain_dtype([each for column in entries for each in column])
        if dtype is not None:
            _tensors.keep_memory(2 * sum([each.nbytes for each in entries[0]]))
        made = StateDict()
        with Progress(self.name, verbose, "layers") as progress:
            call = self.callee.caller(rest)
            for i, (layer, row) in enumerate(zip(common, zip(*entries))):
                if base is not None:
                    rest["base_model"] = base._layer(layer)
                if dtype is not None:
                    rest[first] = _tensors.clones(row)
                for name in self.names if dtype is None else self.names[1:]:
                    pairs = zip(lists[name], matched[name])
                    rest[name] = [_value(item, own[i]) for item, own in pairs]
                if self.callee.takes_layer_name:
                    rest["layer_name"] = layer
                result = call(**rest)
                # Freed before the next layer's copies are made, which get the same, warm memory:
                # a quarter of the time of small layers.
                rest[first] = None
                if dtype is None or getattr(result, "dtype", None) is not dtype:
                    names = [own[i] for own in matched[first]]
                    result = self._rounded(layer, result, lists[first], names)
                made[layer] = result
                progress(i + 1, len(common))
        return made

    def _dicts(self, name: str, arguments: Mapping[str, Any]) -> list[StateDict]:
        if name not in arguments:
            raise ArgumentError(
                f"{self.name}() misses the argument '{name}', a list of state dicts"
            )
        value = arguments[name]
        single = isinstance(value, (str, Mapping)) or _tensors.is_module(value)
        if single or not hasattr(value, "__iter__"):
            found = type(value).__name__
            raise ArgumentError(
                f"{self.name}(): {name}: expected a list of state dicts, found {found}"
            )
        tensors = name == self.names[0]  # further lists may hold anything: matrices, numbers
        dicts = [
            (
                as_state_dict(item, f"{name}[{i}]")
                if tensors or not isinstance(item, Mapping) or isinstance(item, StateDict)
                else StateDict(item)
            )
            for i, item in enumerate(value)
        ]
        if not dicts:
            raise UsageError(f"{self.name}(): {name}: expected state dicts, found an empty list")
        return dicts

    def _line_up(
        self, lists: Mapping[str, list[StateDict]], strict: bool
    ) -> tuple[list[str], dict[str, list[list[str]]]]:
        """Returns the layers that all dicts have, in the first one's order.

        With them come, for every dict of every list, its own names of these layers.
        """
        counts = {name: len(dicts) for name, dicts in lists.items()}
        if len(set(counts.values())) > 1:
            raise UsageError(f"{self.name}(): expected lists of one length, found {counts}")
        first = lists[self.names[0]][0]
        matched = {
            name: [_matched(first, item) for item in dicts] for name, dicts in lists.items()
        }
        every = [names for row in matched.values() for names in row]
        shared = set(every[0]).intersection(*every[1:])
        common = [name for name in first._listed() if name in shared]
        if not common:
            raise MismatchError(f"{self.name}(): the state dicts have no name in common")
        self._report_missing(lists, every, common, strict)
        return common, {
            name: [[names[layer] for layer in common] for names in row]
            for name, row in matched.items()
        }

    def _report_missing(
        self,
        lists: Mapping[str, list[StateDict]],
        matched: list[Mapping[str, str]],
        common: list[str],
        strict: bool,
    ) -> None:
        dicts = [item for items in lists.values() for item in items]
        if all(len(item) == len(common) for item in dicts):
            return
        used = [{names[name] for name in common} for names in matched]
        missing = dict.fromkeys(n for item, own in zip(dicts, used) for n in item if n not in own)
        text = (
            f"{self.name}(): {counted(missing)} not in all state dicts and left out: "
            f"{shown(missing)}"
        )
        if strict:
            raise MismatchError(f"{text} (strict)")
        warn(text)

    def _check_shapes(
        self,
        common: list[str],
        entries: list[list[Any]],
        dicts: list[StateDict],
        names: list[list[str]],
    ) -> None:
        """Raises if a layer's shapes differ in the first list; others may have any shape."""
        shapes: list[list[Any]] = [[getattr(e, "shape", None) for e in own] for own in entries]
        if shapes.count(shapes[0]) == len(shapes) and None not in shapes[0]:
            return
        for at, layer in enumerate(common):
            for item, own in zip(dicts, names):
                item._entry(own[at])  # raises for what is not a tensor
            for i, column in enumerate(shapes):
                if tuple(column[at]) != tuple(shapes[0][at]):
                    raise MismatchError(
                        f"layer '{layer}': shape {list(shapes[0][at])} in {self.names[0]}[0], "
                        f"{list(column[at])} in {self.names[0]}[{i}]"
                    )

    def _rounded(self, layer: str, result: Any, dicts: list[StateDict], names: list[str]) -> Any:
        """Returns a function's result in the dtype of the layer, if it is a float tensor."""
        if result is None:
            raise ArgumentError(f"{self.name}(): layer '{layer}': expected a value, found None")
        if not _tensors.is_tensor(result):
            return result
        dtypes = [item._dtype(its) for item, its in zip(dicts, names)]
        if all(_core.is_float(dtype) for dtype in {*dtypes, _tensors.dtype_of(result)}):
            return _tensors.cast(result, widest(dtypes))
        return result

    def call(self, layer: str, given: Mapping[str, list[Any]], rest: Mapping[str, Any]) -> Any:
        """Calls the function on one layer."""
        arguments: dict[str, Any] = {**rest, **given}
        if self.callee.takes_layer_name:
            arguments["layer_name"] = layer
        return self.callee(arguments)

    def __repr__(self) -> str:
        return f"<dict_map of {self.name}>"


def _value(item: StateDict, name: str) -> Any:
    """Returns a tensor that only the function holds, or another value unchanged."""
    value = dict.__getitem__(item, name)
    is_tensor = type(value) is _core.Source or _tensors.is_tensor(value)
    return item._layer(name) if is_tensor else item[name]


def _matched(first: StateDict, other: StateDict) -> Mapping[str, str]:
    """Returns the other dict's name for each of the first one's that it has."""
    if (listed := first._listed()) == other._listed() or first.keys() == other.keys():
        return dict(zip(listed, listed))
    return _names.match(list(first), other.keys())


def widest(dtypes: Sequence[str]) -> str:
    """Returns the narrowest float dtype that holds the values of all."""
    found = dtypes[0]
    for dtype in dtypes[1:]:
        if dtype != found:
            found = _core.widest(found, dtype)
    return found


@overload
def dict_map(func_or_names: Callable[..., Any]) -> DictMap: ...
@overload
def dict_map(
    func_or_names: str | Sequence[str] | None = None,
) -> Callable[[Callable[..., Any]], DictMap]: ...
def dict_map(func_or_names: Any = None) -> Any:
    """Turns a function on one layer into a function on state dicts.

    ``@dict_map``, ``@dict_map()``, or ``@dict_map(['models', 'hessians'])``: `func_or_names` is the
    function, or the names of the arguments that are lists of dicts (by default the first). The
    function is called for every name
    that all dicts have, in the first dict's order, with lists of the tensors under it. Other
    arguments are passed on unchanged, `layer_name` to functions that accept it. The function may be
    any callable that takes a list as its first argument: a method, functools.partial, an object.

    Tensors are passed as float32; float64 and tensors that are not floats keep their dtype. The
    function may change them; inputs stay. A float result has the widest dtype of the layer's
    tensors in the first list. Results may also be numbers or tuples. Gradients flow through the
    function. Names are matched as in merges. Lists but the first may hold tensors of any shape, or
    other values.

    Raises (when it decorates):
        ArgumentError: the function takes no list (``*models``), is async or a generator.
    Raises (when called):
        MismatchError: no common name; shapes of a layer differ in the first list. A name that some
            dicts lack is left out with a MergeWarning; with strict=True it is an error.
        UsageError: lists that are empty, or of different lengths.
    """
    names = func_or_names
    if names is None:
        return lambda decorated: DictMap(decorated, None)
    if isinstance(names, str):
        return lambda decorated: DictMap(decorated, [names])
    if callable(names):
        return DictMap(names, None)
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            f"dict_map(): expected a function or names of its parameters, found {names!r}"
        )
    return lambda decorated: DictMap(decorated, names)


# ---- merges --------------------------------------------------------------------------------------


class Merge:
    """A function on models: the result of the decorators, and the type of the built-in methods.

    Call it with a list of models of one kind: ids of the Hub or paths, modules of torch, pipelines,
    or dicts. It returns the same kind: a pipeline for ids and paths (the model if
    transformers has no pipeline for it), a copy of the last module or pipeline, a StateDict. The
    models never change.

    Keywords of every merge:
        passthrough_layers, passthrough: names, or shell patterns such as 'classifier.*', of layers
            that are averaged over the models instead; the base is never counted.
        exclude: names or patterns of layers that are not merged, such as heads of different sizes.
            keep: the model (its index, or itself) they are taken from, whose configuration and
            labels the result has; by default the last.
        then: add-ons that change the result: a name, several, or a dict from names to parameters,
            {'lines': {'beta': 0.5}}. They need a base. matrices: names or patterns of the tensors
            of rank 2 that methods decompose; by default all except embeddings and heads.
        tokenizer: for models whose vocabularies differ, with out: 'union', 'base' or a model's
            name; rows are merged token by token. tokens: 'TOKEN=SOURCE', where rows come from.
            pad_vocab: rows are a multiple of it. chat_template: a name, 'auto' or a template.
        base_index: the index of the base in the list. base_model: a base outside the list.
        out: a folder to write the result to instead of returning it, as to_folder does. With it
            shard_size (bytes; 0: no limit), overwrite, sync (False: do not flush data to the disk).
        dry_run: return the plan as a dict instead of merging: method, parameters, models, warnings,
            bytes, memory, and under 'plan' each tensor with its dtype, shape and how it is made.
        task: the pipeline to make ('text-classification'); by default that of the configuration.
        device: where the result goes. dtype: of the result's float tensors ('bf16'). seed: of
            methods that draw random numbers.
        strict: treat each MergeWarning as an error. verbose: show a progress bar, or none.
        threads: worker threads. memory: for tiles, in bytes.

    Raises:
        ArgumentError: mixed kinds, unknown keywords. UsageError: an empty list, a missing base, a
            parameter out of range. MismatchError: shapes differ, no common name. NotFoundError,
            FormatError: a model that cannot be opened.
    """

    __name__: str

    def __call__(self, models: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def to_folder(self, models: Any, out: str | os.PathLike[str], *args: Any, **kwargs: Any) -> str:
        """Writes the result to a new folder `out` and returns its path.

        models and further arguments are those of the merge. One layer of each model is in memory at
        a time.

        Raises:
            ExistsError: the folder exists, without overwrite=True.
        """
        return self(models, *args, out=out, **kwargs)  # type: ignore[no-any-return]

    def _repr_html_(self) -> str:
        import html
        import inspect

        rows = [
            (name, "" if parameter.default is parameter.empty else repr(parameter.default))
            for name, parameter in inspect.signature(self).parameters.items()
            if parameter.kind is not parameter.KEYWORD_ONLY
        ]
        cells = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
            for name, value in rows
        )
        return (
            f"<table><caption>merge {html.escape(self.__name__)}</caption>"
            f"<tr><th>argument</th><th>default</th></tr>{cells}</table>"
        )

    def _finish(
        self,
        plan: _core.Plan,
        last: Input,
        options: Options,
        made: Mapping[str, Tensor],
        threads: int | None,
        first: Input,
    ) -> Any:
        """Runs a plan, to a folder or to the kind of `last`. made: tensors that exist already.

        first: the first of the user's models, which orders the names of a dict.
        """
        import json

        before = plan.report
        for line in before:
            warn(line)
        run = {**options.run, **({"threads": threads} if threads else {})}
        if options.dry_run:
            return json.loads(plan.json(**run))
        with Progress(self.__name__, options.verbose) as progress:
            if options.out is not None:
                plan.run(options.out, progress=progress, **run, **options.files)
            else:
                tensors = _materialize(plan, made, run, progress)
        for line in plan.report[len(before) :]:  # what only the values show
            warn(line)
        if options.out is not None:
            return options.out
        if first.kind == DICT:
            order = [name for name in first.value if name in tensors]
            tensors = tensors._picked(dict.fromkeys([*order, *tensors]))
        given = {**options.given, "dtype": options.dtype}
        return hand_back(tensors, last, options.given.get("device"), given)


def _materialize(
    plan: _core.Plan, made: Mapping[str, Tensor], run: Mapping[str, Any], progress: Progress
) -> StateDict:
    """Computes a plan's tensors, except those that exist already in the right dtype."""
    ready = {
        name
        for name, dtype, _ in plan.lines
        if name in made and _tensors.dtype_of(made[name]) == dtype
    }
    rest = _core.Dict()
    lazy = plan.dict.items()
    for name, source in lazy:
        if name not in ready:
            rest.set(name, source)
    computed = dict(plan.materialize(rest, progress=progress, **run).items())
    tensors = StateDict()
    for name, _ in lazy:
        if name in ready:
            tensors[name] = made[name]
        else:
            tensors[name] = _tensors.from_source(computed[name], share=True)
    return tensors


class FunctionMerge(Merge):
    """A merge by a Python function on state dicts, or on layers (a DictMap)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        import functools

        if isinstance(function, DictMap):
            self.callee = function.callee
        else:
            self.callee = Callee(function, "model_merge", "state dicts")
        self.function = function
        functools.update_wrapper(self, innermost(function), updated=())
        self.__wrapped__ = function
        self._signature_of = getattr(function, "_signature_of", function)
        self.__name__ = self.callee.name

    def __get__(self, owner: Any, kind: type | None = None) -> FunctionMerge:
        """Makes a function whose first parameter is `self` a method of its class."""
        if owner is None or self.callee.names[0] != "self":
            return self
        return FunctionMerge(self.function.__get__(owner))

    def __reduce__(self) -> Any:
        return pickled(self, self.function)

    def __repr__(self) -> str:
        return f"<merge {self.__name__}>"

    def __call__(self, models: Any = _MISSING, *args: Any, **kwargs: Any) -> Any:
        first = self.callee.names[0]
        if models is _MISSING:  # by the name that the function has for it
            models = kwargs.pop(first, _MISSING)
        if models is _MISSING:
            raise ArgumentError(
                f"{self.__name__}() misses the argument '{first}', a list of models"
            )
        own = self.callee.bind((models, *args), self._own_keywords(kwargs))
        del own[first]
        common = {name: value for name, value in {**kwargs, **own}.items() if name in COMMON}
        options = Options(common, self.__name__)
        to_folder = options.out is not None
        inputs = open_inputs(models, options.verbose, to_folder)
        base_model = options.given.get("base_model")
        default = self._default_index() if base_model is None else None
        index = options.given.get("base_index", default)
        rest, base, place = split_base(
            inputs, index, base_model, self.__name__, options.verbose, to_folder
        )
        last = inputs[-1]
        if options.exclude:
            last = find_kept(options.given.get("keep"), inputs, rest, self.__name__)
        if not to_folder:
            options.given["task"] = check_task(last, options.given.get("task"))
        call = _Call(self, own, options, rest, base, place)
        self.callee.require([first, *call.own, *call.filled])
        method = _core.Method(self.__name__, _first_line(self.function), call.uses_base, call.run)
        plan = _core.Plan(
            method=method,
            models=[given.core for given in rest],
            base=base.core if base else None,
            params=options.then_params,
            passthrough=options.passthrough,
            seed=options.seed,
            strict=options.strict,
            dtype=options.dtype,
            origin=_origin(self.function),
            text=_text(self.function),
            exclude=options.exclude,
            keep=rest.index(last) + 1 if options.exclude else 0,
            then=options.then,
            matrices=options.matrices,
            **options.vocabulary,
        )
        options.given["whole"] = last in rest
        threads = 1 if call.lazy else None
        return self._finish(plan, last, options, call.made, threads, inputs[0])

    def _own_keywords(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the keywords that the function is given."""
        for name in kwargs:
            if name not in COMMON and not self.callee.accepts(name):
                raise unknown_keyword(self.__name__, name, [*self.callee.names[1:], *COMMON])
        hidden = ("passthrough_layers", "passthrough", "verbose", "out", "dry_run", "base_model")
        named = self.callee.names
        return {
            name: value
            for name, value in kwargs.items()
            if name in named or (self.callee.takes_any and name not in hidden)
        }

    def _default_index(self) -> Any:
        for parameter in self.callee.parameters:
            if parameter.name == "base_index" and parameter.default is not parameter.empty:
                return parameter.default
        return None


def _first_line(function: Callable[..., Any]) -> str:
    text = (getattr(innermost(function), "__doc__", None) or "").strip()
    return text.splitlines()[0] if text else ""


def _origin(function: Callable[..., Any]) -> str:
    code = getattr(innermost(function), "__code__", None)
    return code.co_filename if code is not None else "<python>"


def _text(function: Callable[..., Any]) -> str | None:
    import inspect

    try:
        return inspect.getsource(innermost(function))
    except (OSError, TypeError):
        return None


class _Call:
    """One call of a function on models as the library sees it: Dicts in, a Dict out."""

    def __init__(
        self,
        merge: FunctionMerge,
        own: dict[str, Any],
        options: Options,
        models: list[Input],
        base: Input | None,
        place: int,
    ) -> None:
        self.merge, self.own, self.options = merge, own, options
        self.models, self.base = models, base
        self.made: dict[str, Tensor] = {}
        self.place = place
        callee = merge.callee
        # Functions with a parameter base_model get the base there, those that know base_index
        # (or were given it) find it among the models.
        self.as_argument = base is not None and "base_model" in callee.names
        self.in_list = base is not None and not self.as_argument and callee.accepts("base_index")
        if options.given.get("base_model") is None and base is not None and not self.as_argument:
            self.in_list = True
        self.uses_base = self.as_argument or self.in_list
        if self.in_list and "base_index" in callee.names:
            self.own["base_index"] = place
        function = merge.function
        # Layers of dicts are made at once, so that gradients flow; those of files when written.
        in_memory = models[-1].kind == DICT and options.out is None
        self.lazy = isinstance(function, DictMap) and len(function.names) == 1 and not in_memory
        # What the function is given later.
        self.filled = ["base_model"] if self.as_argument else []
        if isinstance(function, DictMap):
            self.filled.append("layer_name")

    def run(self, models: list[_core.Dict], base: _core.Dict | None) -> _core.Dict:
        dicts = [_with_history(core, given) for core, given in zip(models, self.models)]
        if base is not None and self.base is not None:
            of_base = _with_history(base, self.base)
            if self.in_list:
                dicts.insert(self.place, of_base)
            elif self.as_argument:
                self.own["base_model"] = of_base
        if self.lazy:
            return self._layers(dicts)
        function, arguments = self.merge.function, {self.merge.callee.names[0]: dicts, **self.own}
        if isinstance(function, DictMap):
            base_of_layers = self.own["base_model"] if self.as_argument else None
            made = function.run(arguments, False, self.options.verbose, base_of_layers)
            return self._checked(made, dicts)
        return self._checked(self.merge.callee(arguments), dicts)

    def _layers(self, dicts: list[StateDict]) -> _core.Dict:
        """Returns tensors that are computed when they are written, one at a time."""
        function: DictMap = self.merge.function  # type: ignore[assignment]
        made = _core.Dict()
        for layer in dicts[0]:
            dtype = self._dtype(layer, dicts)
            compute = _Layer(self, function, layer, dicts, dtype)
            made.set(layer, _core.compute(dtype, dicts[0]._shape(layer), compute))
        return made

    def _dtype(self, layer: str, dicts: list[StateDict]) -> str:
        fine_tuned = [d for i, d in enumerate(dicts) if not (self.in_list and i == self.place)]
        return widest([item._dtype(layer) for item in fine_tuned])

    def check(self, layer: str, result: Any, dicts: list[StateDict]) -> Tensor:
        """Raises unless a result can take the layer's place."""
        where = f"{self.merge.__name__}(): layer '{layer}'"
        if not _tensors.is_tensor(result):
            raise ArgumentError(f"{where}: expected a tensor, found {_found(result)}")
        if not _core.is_float(_tensors.dtype_of(result)):
            found = _tensors.dtype_of(result)
            raise ArgumentError(f"{where}: expected a float tensor, found one of {found}")
        try:
            _tensors.check_dense(result)
        except ValueError as error:
            raise ArgumentError(f"{where}: {error}") from None
        if layer in dicts[0] and tuple(result.shape) != dicts[0]._shape(layer):
            raise MismatchError(
                f"{where}: expected shape {list(dicts[0]._shape(layer))} as in the models, "
                f"found {list(result.shape)}"
            )
        return result

    def _checked(self, result: Any, dicts: list[StateDict]) -> _core.Dict:
        name = self.merge.__name__
        if not isinstance(result, Mapping):
            raise ArgumentError(
                f"{name}(): expected a StateDict as its result, found {_found(result)}"
            )
        made = _core.Dict()
        for layer in list(result):
            tensor = self.check(layer, result[layer], dicts)
            own = layer in dicts[0]
            dtype = self._dtype(layer, dicts) if own else _tensors.dtype_of(tensor)
            if _tensors.has_history(tensor):
                self.made[layer] = _tensors.cast(tensor, dtype)
            else:
                self.made[layer] = _tensors.plain(tensor)
            made.set(layer, _rounded(tensor, dtype))
        left_out = [layer for layer in dicts[0] if layer not in result]
        if left_out:
            text = f"{name}(): {counted(left_out)} not in its result: {shown(left_out)}"
            if self.options.strict:
                raise MismatchError(f"{text} (strict)")
            warn(text)
        return made


def _with_history(core: _core.Dict, given: Input) -> StateDict:
    """Returns a model's dict, with the user's own tensors where gradients flow through them."""
    made = StateDict._of(core)
    if given.kind == DICT:
        for name in made:
            value = given.value[name] if name in given.value else None
            if _tensors.has_history(value):
                made[name] = value
    return made


def _rounded(tensor: Tensor, dtype: str) -> _core.Source:
    """Returns a source of the tensor that is rounded to a dtype when it is read."""
    if _tensors.dtype_of(tensor) == dtype:
        return _tensors.to_source(tensor)
    wide = _tensors.layer_dtype(dtype)
    shape = tuple(tensor.shape)
    return _core.compute(dtype, shape, lambda: _tensors.to_numpy(tensor, wide))


class _Layer:
    """Makes one layer when it is called."""

    def __init__(
        self, call: _Call, function: DictMap, layer: str, dicts: list[StateDict], dtype: str
    ) -> None:
        self.call, self.function, self.layer = call, function, layer
        self.dicts, self.dtype = dicts, dtype

    def __call__(self) -> Any:
        first = self.function.names[0]
        own = {name: value for name, value in self.call.own.items() if name != first}
        if self.call.as_argument:
            own["base_model"] = own["base_model"]._layer(self.layer)
        tensors = [item._layer(self.layer) for item in self.dicts]
        result = self.function.call(self.layer, {first: tensors}, own)
        checked = self.call.check(self.layer, result, self.dicts)
        return _tensors.to_numpy(checked, _tensors.layer_dtype(self.dtype))


@overload
def model_merge(function: Callable[..., Any]) -> FunctionMerge: ...
@overload
def model_merge(function: None = None) -> Callable[[Callable[..., Any]], FunctionMerge]: ...
def model_merge(function: Any = None) -> Any:
    """Turns a function on a list of state dicts into a function on models: ``@model_merge``.

    The function gets a list of StateDict, which it may change, and returns a StateDict (or another
    dict) of float tensors. It sees the layers that all models (and the base) have and that are
    floats; others are averaged or copied, with a MergeWarning. Names that it leaves out are left
    out of a dict or a folder, and keep the last model's values in a module or a pipeline, with a
    MergeWarning. Further arguments are passed on; `task`, `base_index` and other keywords of every
    merge reach only functions that accept them. See Merge for those keywords.

    A function with a parameter `base_index` finds the base at that place of the list; one with a
    parameter `base_model` gets the base as a StateDict of its own.
    """
    return FunctionMerge(function) if function is not None else model_merge


@overload
def layer_merge(function: Callable[..., Any]) -> FunctionMerge: ...
@overload
def layer_merge(function: None = None) -> Callable[[Callable[..., Any]], FunctionMerge]: ...
def layer_merge(function: Any = None) -> Any:
    """Turns a function on one layer into one on models: ``model_merge(dict_map(function))``.

    With out='FOLDER' (or to_folder) one layer of each model is in memory at a time; otherwise the
    result, and one layer of each. Gradients flow through it where models are dicts.
    """
    if function is None:
        return layer_merge
    if not isinstance(function, DictMap):
        function = DictMap(function, None, "layer_merge")
    return FunctionMerge(function)
