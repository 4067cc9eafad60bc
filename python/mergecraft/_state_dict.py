"""StateDict: an ordered dict of tensors with arithmetic."""

from __future__ import annotations

import operator
import os
from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView

from . import _core, _modules, _names, _tensors, _transformers
from ._callee import Callee
from ._errors import ArgumentError, MismatchError, UsageError, counted, shown, warn
from ._modules import DICT, MODULE, NAME, OWN, PIPELINE, kind_of
from ._progress import open_models

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

    import torch

    from ._tensors import Tensor

    _Dict = OrderedDict[str, Any]
else:
    _Dict = OrderedDict

_MISSING: Any = object()
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}


class StateDict(_Dict):
    """An ordered dict from names to tensors: torch's, or numpy's where torch is not installed.

    A checkpoint's tensors are mapped when they are first accessed and read when they are used. The
    mappings are private (copy-on-write): changing a tensor never changes the file.

    Arithmetic (``+ - * / **``, the first four in place too, unary minus, abs) with a number, a
    tensor, another dict or a module works name by name. Shapes must be equal, but an entry of a
    dict may be a number or a tensor without dimensions: a coefficient per layer. Names of two dicts
    are matched as in merges: those of a bare encoder match those of a model with a head. The result
    has the left operand's names. Names that only one operand has are left out with a MergeWarning.
    In-place operations keep them, and never write into tensors that others may hold.

    float16 and bfloat16 are computed in float32 and rounded once to the wider dtype of the
    operands; other dtypes follow torch. Gradients flow through arithmetic.
    """

    # An entry that nobody has accessed is a _core.Source. Code in this class reads entries as they
    # are by dict.__getitem__; everything else goes through __getitem__.

    # ---- construction ----------------------------------------------------------------------------

    @classmethod
    def from_model(cls, model: torch.nn.Module | Any, buffers: bool = False) -> StateDict:
        """Returns the parameters of a module, or of a pipeline's model, without a copy.

        A tied parameter appears once, under its first name. buffers: also those that a checkpoint
        holds, such as BatchNorm's running statistics.

        Raises:
            ArgumentError: not a module.
        """
        if kind_of(model) == OWN:
            own: Any = model
            return own.state_dict()  # type: ignore[no-any-return]
        module = model if _tensors.is_module(model) else getattr(model, "model", model)
        if not _tensors.is_module(module):
            found = type(model).__name__
            raise ArgumentError(f"expected a torch.nn.Module or a pipeline, found {found}")
        module = _modules.unwrap(module)
        tensors = _modules.tensors_of(module) if buffers else _modules.parameters_of(module)
        return cls((name, tensor.detach()) for name, tensor in tensors.items())

    @classmethod
    def from_hf(
        cls, name: str | os.PathLike[str], task: str | None = None, **kwargs: Any
    ) -> StateDict:
        """Returns the tensors of a checkpoint `name`: a folder, a file, or an id of the Hub.

        Tensors are in the order of the module, regardless of the file's. They are read when they
        are used. `task` and other keywords of transformers are accepted and ignored.

        Raises:
            NotFoundError, FormatError: it does not exist, or is not a checkpoint.
        """
        core = open_models([_tensors.path_of(name, "from_hf")])[0]
        return cls._of(core.dict)._ordered(_transformers.module_order(core))

    @classmethod
    def zeros_like(
        cls,
        model: torch.nn.Module | Mapping[str, Any] | str | os.PathLike[str],
        task: str | None = None,
        **kwargs: Any,
    ) -> StateDict:
        """Returns zeros with the names, shapes and dtypes of a model.

        model: a module, a dict or a checkpoint. `task` and other keywords are ignored.
        """
        return as_state_dict(model, "zeros_like").map(_zeros)

    @classmethod
    def _of(cls, core: _core.Dict) -> StateDict:
        made = cls()
        for name, source in core.items():
            OrderedDict.__setitem__(made, name, source)
        return made

    def _ordered(self, order: list[str]) -> StateDict:
        """Returns the entries in the order of these names, or a usual one if they do not match."""
        found = _names.match(order, self.keys())
        if len(found) * 2 < len(self):
            return self._picked(_names.in_order(self))
        first = dict.fromkeys(found.values())
        return self._picked(
            [*first, *(name for name in _names.in_order(self) if name not in first)]
        )

    def _picked(self, names: Iterable[str]) -> StateDict:
        """Returns a dict with the unchanged entries of these names."""
        made = StateDict()
        for name in names:
            OrderedDict.__setitem__(made, name, dict.__getitem__(self, name))
        return made

    # ---- access ----------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        value = dict.__getitem__(self, name)
        if type(value) is _core.Source:
            value = _tensors.from_source(value)
            super().__setitem__(name, value)
        return value

    def __iter__(self) -> Iterator[str]:  # also makes dict(self) ask for the values one by one
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """Returns the tensor of a name, or `default`."""
        return self[name] if name in self else default

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Returns a view of names and tensors."""
        return ItemsView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Returns a view of the tensors."""
        return ValuesView(self)

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        """Removes a name and returns its tensor, or `default` if it is given."""
        if name not in self and default is not _MISSING:
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self, last: bool = True) -> tuple[str, Any]:
        """Removes and returns the last name and its tensor, or with last=False the first."""
        if not self:
            raise KeyError("popitem(): the state dict is empty")
        name = next(reversed(self)) if last else next(iter(self))
        return name, self.pop(name)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Returns the tensor of a name, which is `default` if there was none."""
        if name not in self:
            self[name] = default
        return self[name]

    def __eq__(self, other: object) -> bool:
        """Returns whether names, in any order, dtypes, shapes and values are equal."""
        if not isinstance(other, Mapping) or self.keys() != other.keys():
            return False
        return all(_same(self[name], other[name]) for name in self)

    def __ne__(self, other: object) -> bool:  # dict's own would ask arrays for their truth value
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> StateDict:
        return self._picked(self)

    def copy(self) -> StateDict:
        """Returns a dict of copies of the tensors."""
        return StateDict((name, _copy(self[name])) for name in self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles as a StateDict; by protocol 2, which torch.save uses, as an OrderedDict.

        torch.load(weights_only=True) and other readers of torch files know only that.
        """
        kind: type = OrderedDict if protocol <= 2 else StateDict
        return kind, (), None, None, iter(self.items())

    def _shown(self, name: str) -> str:
        value = dict.__getitem__(self, name)
        if type(value) is not _core.Source and not _tensors.is_tensor(value):
            return type(value).__name__
        return f"{self._dtype(name)} {list(value.shape)}"

    def __repr__(self) -> str:
        listed = [f"{name}: {self._shown(name)}" for name in list(self)[:3]]
        more = f", … {len(self)} in all" if len(self) > 3 else ""
        return f"StateDict({', '.join(listed)}{more})"

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(self._shown(name))}</td></tr>"
            for name in list(self)[:10]
        )
        more = f"<tr><td>… {len(self) - 10} more</td><td></td></tr>" if len(self) > 10 else ""
        count = sum(self._count(name) for name in self)
        return (
            f"<table><caption>StateDict: {len(self)} tensors, {count:,} values</caption>"
            f"<tr><th>layer</th><th>dtype and shape</th></tr>{rows}{more}</table>"
        )

    # ---- entries as they are ---------------------------------------------------------------------

    def _listed(self) -> list[str]:
        return list(OrderedDict.__iter__(self))  # an eighth of the time of list(self)

    def _entries(self, names: list[str]) -> list[Any]:
        get = dict.__getitem__
        return [get(self, name) for name in names]

    def _entry(self, name: str, what: str = "") -> Any:
        """Returns an entry: a tensor, or the source of one that has not been accessed."""
        value = dict.__getitem__(self, name)
        if type(value) is not _core.Source and not _tensors.is_tensor(value):
            found = type(value).__name__
            raise ArgumentError(f"{what}layer '{name}': expected a tensor, found {found}")
        return value

    def _dtype(self, name: str) -> str:
        value = self._entry(name)
        return value.dtype if type(value) is _core.Source else _tensors.dtype_of(value)

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._entry(name).shape)

    def _count(self, name: str) -> int:
        import math

        return math.prod(getattr(dict.__getitem__(self, name), "shape", ()))

    def _source(self, name: str, what: str) -> _core.Source:
        if not isinstance(name, str):
            raise ArgumentError(f"{what}expected names of layers as text, found {name!r}")
        if "\0" in name or _tensors.is_broken(name):
            raise UsageError(
                f"{what}expected names of layers as text in UTF-8 without zeros, found {name!r}"
            )
        value = self._entry(name, what)
        if type(value) is _core.Source:
            return value
        return _tensors.to_source(value, f"{what}layer '{name}'")

    def _read(self, name: str) -> Tensor:
        """Returns a tensor to read from; the entry is unchanged."""
        value = self._entry(name)
        return _tensors.from_source(value) if type(value) is _core.Source else value

    def _operand(self, name: str) -> Any:
        """Returns a tensor to read from, or a number."""
        value = dict.__getitem__(self, name)
        return value if isinstance(value, (int, float)) else self._read(name)

    def _layer(self, name: str) -> Tensor:
        """Returns a tensor to compute with that nothing else holds; the entry is unchanged."""
        value = self._entry(name)
        dtype = _tensors.layer_dtype(self._dtype(name))
        if type(value) is _core.Source:
            return _tensors.from_source(value, dtype)
        return _tensors.copy_as(value, dtype)

    def _core(self, label: str = "") -> _core.Dict:
        """Returns it as the library has it. label: said before the text of errors."""
        made = _core.Dict()
        for name in self:
            made.set(name, self._source(name, f"{label}: " if label else ""))
        return made

    # ---- arithmetic ------------------------------------------------------------------------------

    def _operate(
        self, symbol: str, other: Any, reflected: bool = False, in_place: bool = False
    ) -> Any:
        if isinstance(other, (int, float)) or _tensors.is_tensor(other):
            if _tensors.is_tensor(other) and _tensors.dtype_of(other).startswith("complex"):
                found = _tensors.dtype_of(other)
                raise ArgumentError(
                    f"{symbol}: expected a real number or tensor, found one of {found}"
                )
            return self._with_values(symbol, other, reflected)
        if isinstance(other, Mapping) or _tensors.is_module(other):
            return self._with_dict(symbol, as_state_dict(other, symbol), reflected, in_place)
        return NotImplemented

    def _with_values(self, symbol: str, other: Any, reflected: bool) -> StateDict:
        function = _OPERATORS[symbol]
        other = _tensors.number(other)
        if type(other) in (int, float) and (not reflected or symbol in "+*"):
            at_once = _tensors.at_once(symbol, self._entries(self._listed()), other)
            if at_once is not None:
                return StateDict(zip(self._listed(), at_once))
        made = StateDict()
        for name in self:
            left = self._read(name)
            if not _tensors.is_broadcast(other, tuple(left.shape)):
                raise MismatchError(
                    f"layer '{name}': {symbol}: expected a number or a tensor for shape "
                    f"{list(left.shape)}, found one of {list(other.shape)}"
                )
            a, b = (other, left) if reflected else (left, other)
            made[name] = _combine(symbol, name, function, a, b)
        return made

    def _with_dict(
        self, symbol: str, other: StateDict, reflected: bool, in_place: bool
    ) -> StateDict:
        function = _OPERATORS[symbol]
        if (names := self._listed()) == other._listed():
            operands = [self._entries(names), other._entries(names)]
            at_once = _tensors.at_once(symbol, *(operands[::-1] if reflected else operands))
            if at_once is not None:
                return StateDict(zip(names, at_once))
        is_plain = _tensors.plainness()
        made = StateDict()
        for name, its in self._lined_up(symbol, other, keeps_own=in_place):
            left, right = dict.__getitem__(self, name), dict.__getitem__(other, its)
            plain = is_plain(left, right)
            if not plain:
                left, right = self._operand(name), other._operand(its)
            a, b = (right, left) if reflected else (left, right)
            if not _fit(left, right):
                raise MismatchError(
                    f"layer '{name}': shape {list(a.shape)} on the left of {symbol}, "
                    f"{list(b.shape)} on the right"
                )
            made[name] = function(a, b) if plain else _combine(symbol, name, function, a, b)
        return made

    def _lined_up(
        self, what: str, other: StateDict, keeps_own: bool = False
    ) -> Iterable[tuple[str, str]]:
        """Returns pairs of names of the same tensor; warns about names that are dropped."""
        if self.keys() == other.keys():
            return zip(self, self)
        found = _names.match(list(self), other.keys())
        if not found and self and other:
            raise MismatchError("the state dicts have no name in common")
        used = set(found.values())
        alone = [] if keeps_own else [name for name in self if name not in found]
        alone += [name for name in other if name not in used]
        if alone:
            warn(f"{what}: {counted(alone)} in one state dict only: {shown(alone)}")
        return found.items()

    def _in_place(self, symbol: str, other: Any) -> Any:
        result = self._operate(symbol, other, in_place=True)
        if result is not NotImplemented:
            for name in result:
                self[name] = dict.__getitem__(result, name)
            return self
        return NotImplemented

    def __add__(self, other: Any) -> StateDict:
        return self._operate("+", other)  # type: ignore[no-any-return]

    def __sub__(self, other: Any) -> StateDict:
        return self._operate("-", other)  # type: ignore[no-any-return]

    def __mul__(self, other: Any) -> StateDict:
        return self._operate("*", other)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> StateDict:
        return self._operate("/", other)  # type: ignore[no-any-return]

    def __radd__(self, other: Any) -> StateDict:
        return self._operate("+", other, reflected=True)  # type: ignore[no-any-return]

    def __rsub__(self, other: Any) -> StateDict:
        return self._operate("-", other, reflected=True)  # type: ignore[no-any-return]

    def __rmul__(self, other: Any) -> StateDict:
        return self._operate("*", other, reflected=True)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any) -> StateDict:
        return self._operate("/", other, reflected=True)  # type: ignore[no-any-return]

    def __iadd__(self, other: Any) -> StateDict:
        return self._in_place("+", other)  # type: ignore[no-any-return]

    def __isub__(self, other: Any) -> StateDict:
        return self._in_place("-", other)  # type: ignore[no-any-return]

    def __imul__(self, other: Any) -> StateDict:
        return self._in_place("*", other)  # type: ignore[no-any-return]

    def __itruediv__(self, other: Any) -> StateDict:
        return self._in_place("/", other)  # type: ignore[no-any-return]

    def __pow__(self, other: Any) -> StateDict:
        return self._operate("**", other)  # type: ignore[no-any-return]

    def __abs__(self) -> StateDict:
        return self.map(abs)

    def __neg__(self) -> StateDict:
        return self._operate("*", -1)  # type: ignore[no-any-return]

    def __pos__(self) -> StateDict:
        return self._picked(self)

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Mapping):
            return NotImplemented
        made = self._picked(self)
        made.update(other)
        return made

    def __ror__(self, other: Any) -> Any:
        return StateDict(other) | self if isinstance(other, Mapping) else NotImplemented

    __array_ufunc__ = None  # makes numpy's arrays leave operations with a StateDict to it

    # ---- measures --------------------------------------------------------------------------------

    def dot(self, other: Any) -> float:
        """Returns the sum of the products with all values of `other`, computed in float64."""
        own = as_state_dict(other, "dot")
        return sum(
            _tensors.dot(self._read(name), own._read(its))
            for name, its in self._lined_up("dot", own)
        )

    def norm(self) -> float:
        """Returns the Euclidean norm of all values together, computed in float64."""
        return float(self.dot(self) ** 0.5)

    def cosine(self, other: Any) -> float:
        """Returns the cosine of the angle to `other`, a dict; NaN if one of them is all zeros.

        Names that only one of the two has are left out of its norm too, with a MergeWarning.
        """
        own = as_state_dict(other, "cosine")
        pairs = list(self._lined_up("cosine", own))
        mine = self._picked(name for name, _ in pairs)
        others = own._picked(its for _, its in pairs)
        norms = mine.norm() * others.norm()
        together = sum(_tensors.dot(mine._read(name), others._read(its)) for name, its in pairs)
        return together / norms if norms else float("nan")

    def flatten(self, like: Any = None) -> Tensor:
        """Returns all values as one vector, in this dict's order or in that of `like`.

        Raises:
            MismatchError: `like` and this dict do not have the same names and shapes.
        """
        if like is None:
            return _tensors.concatenate([self[name] for name in self])
        own = as_state_dict(like, "flatten")
        found = _names.match(list(own), self.keys())
        if len(found) != len(own) or len(found) != len(self):
            alone = [n for n in own if n not in found] or sorted({*self} - {*found.values()})
            raise MismatchError(f"flatten: in one state dict only: {shown(alone)}")
        for name, its in found.items():
            if own._shape(name) != self._shape(its):
                raise MismatchError(
                    f"layer '{name}': shape {list(own._shape(name))} in like, "
                    f"{list(self._shape(its))} in the state dict"
                )
        return _tensors.concatenate([self[its] for its in found.values()])

    @classmethod
    def unflatten(cls, vector: Tensor, like: Any) -> StateDict:
        """Returns a dict with the values of a vector, in the order of flatten(like=…).

        Raises:
            MismatchError: the vector has a different number of values.
        """
        own = as_state_dict(like, "unflatten")
        expected = sum(own._count(name) for name in own)
        if tuple(vector.shape) != (expected,):
            raise MismatchError(
                f"unflatten: expected a vector of {expected} values, found {list(vector.shape)}"
            )
        made, at = cls(), 0
        for name in own:
            made[name] = vector[at : at + own._count(name)].reshape(own._shape(name))
            at += own._count(name)
        return made

    # ---- names -----------------------------------------------------------------------------------

    def map(self, function: Callable[..., Tensor]) -> StateDict:
        """Returns a dict of function(tensor) for each; `layer_name` if the function takes it."""
        callee = Callee(function, "map", "values")
        if "layer_name" in callee.names:
            return StateDict((name, function(self[name], layer_name=name)) for name in self)
        return StateDict((name, function(self[name])) for name in self)

    def filter(self, keep: str | Iterable[str] | Callable[..., bool]) -> StateDict:
        """Returns a dict of the names that match shell patterns, or for which keep(tensor) is true.

        A pattern may match nothing. Tensors are shared.
        """
        import fnmatch

        if callable(keep):
            return self._picked([name for name in self if keep(self[name])])
        patterns = [keep] if isinstance(keep, str) else list(keep)
        fits = [n for n in self if any(n == p or fnmatch.fnmatchcase(n, p) for p in patterns)]
        return self._picked(fits)

    def filter_values(self, predicate: Callable[[Any], bool]) -> StateDict:
        """Keeps the entries whose tensor fulfils a predicate. Changes this dict and returns it."""
        for name in [name for name in self if not predicate(self[name])]:
            del self[name]
        return self

    def remove(self, names: str | Iterable[str]) -> StateDict:
        """Removes names or shell patterns. Changes this dict and returns it.

        Raises:
            KeyError: one of them matches nothing; nothing is removed then.
        """
        for name in _names.select(self.keys(), names):
            del self[name]
        return self

    def subset(self, names: str | Iterable[str]) -> StateDict:
        """Returns a dict of these names or shell patterns, in their order; tensors are shared.

        Raises:
            KeyError: one of them matches nothing.
        """
        return self._picked(_names.select(self.keys(), names))

    # ---- elsewhere -------------------------------------------------------------------------------

    def to(self, device: Any) -> StateDict:
        """Returns a dict of tensors on a torch device; those already there are shared."""
        if not _tensors.has_torch():
            if str(device) == "cpu":
                return self._picked(self)
            raise UsageError(f"expected 'cpu', found '{device}': other devices need torch")
        return self.map(lambda tensor: tensor.to(device))

    # A dict can become every kind of model, and every kind of model has a dict: these functions are
    # the only ones that import a module above this one.

    def to_model(
        self, model: Any, verbose: bool | None = False, *, strict: bool = False, **kwargs: Any
    ) -> Any:
        """Returns a copy of a model with these tensors: a module, a dict, a pipeline for an id.

        A module gets copies in its own dtypes, with a MergeWarning if precision is lost. Names are
        matched as in merges, and in a transformers module also as for a checkpoint. Names that the
        model has and this dict lacks keep the model's values, with a MergeWarning; so do names that
        the model does not have. strict: either is an error. verbose: show the progress of
        downloads. Other keywords, such as task, are those of merges.

        Raises:
            MismatchError: no common name, or a shape differs.
        """
        from ._outputs import put_into

        return put_into(self, model, {"verbose": verbose, "strict": strict, **kwargs})

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        like: Any = None,
        overwrite: bool = False,
        verbose: bool | None = None,
    ) -> None:
        """Writes safetensors: one file if `path` ends with .safetensors, else a folder.

        The folder is sharded above 5 GB and appears when it is complete. like: a model (id, folder,
        module, pipeline) whose configuration, tokenizer and tensor names the folder gets, so that
        transformers loads it; tensors that this dict lacks are taken from there, with a
        MergeWarning. verbose: show a progress bar, or none.

        Raises:
            ExistsError: it exists, without overwrite=True.
        """
        from ._outputs import save

        save(self, _tensors.path_of(path, "save"), like, overwrite, verbose)

    def push_to_hub(self, repository: str, *, like: Any = None, **kwargs: Any) -> str:
        """Saves as save() does, with `like`, and uploads the folder to a repository of the Hub.

        Keywords: those of HfApi.create_repo (private, token) and commit_message. Returns the URL of
        the commit.
        """
        from ._outputs import push_to_hub

        return push_to_hub(self, repository, like, kwargs)


def _copy(value: Any) -> Any:
    if _tensors.is_tensor(value):
        return _tensors.plain(_tensors.copy_as(value, _tensors.dtype_of(value)))
    import copy

    return copy.deepcopy(value)


def _zeros(tensor: Tensor) -> Tensor:
    if _tensors.is_torch(tensor):
        import torch

        return torch.zeros_like(tensor)
    import numpy

    return numpy.zeros_like(tensor)


def _fit(left: Any, right: Any) -> bool:
    """Returns whether two operands have one shape, or one of them is a coefficient."""
    shapes = [tuple(getattr(each, "shape", ())) for each in (left, right)]
    return shapes[0] == shapes[1] or () in shapes


def _combine(
    symbol: str, name: str, function: Callable[[Any, Any], Any], left: Any, right: Any
) -> Tensor:
    """Returns one entry of an operation's result."""
    left, right = _tensors.together(left, right)
    dtype = _tensors.result_dtype(left, right)
    if dtype is None:  # neither is a float tensor: as torch does it
        try:
            return _tensors.as_torch_rounds(function(left, right))
        except (TypeError, RuntimeError):  # bools have no difference
            warn(f"layer '{name}': {symbol}: undefined for bool, left unchanged")
            return left if _tensors.is_tensor(left) else right
    wide = _tensors.layer_dtype(dtype)
    left, right = _tensors.widened(left, wide), _tensors.widened(right, wide)
    return _tensors.cast(function(left, right), dtype)


def _same(a: Any, b: Any) -> bool:
    if _tensors.is_tensor(a) and _tensors.is_tensor(b):
        return _tensors.equal(a, b)
    return bool(a == b)


def as_state_dict(value: Any, what: str) -> StateDict:
    """Returns the StateDict of a dict, a module, a pipeline or a checkpoint; tensors are shared."""
    if isinstance(value, StateDict):
        return value
    kind = kind_of(value)
    if kind == DICT:
        made = StateDict(value)
        for name, tensor in made.items():
            if not _tensors.is_tensor(tensor):
                found = type(tensor).__name__
                raise ArgumentError(f"{what}: expected a tensor under '{name}', found {found}")
        return made
    if kind == NAME:
        return StateDict.from_hf(value)
    if kind in (MODULE, PIPELINE, OWN):
        return StateDict.from_model(value)
    found = type(value).__name__
    raise ArgumentError(f"{what}: expected a module, a dict, or a checkpoint's name, found {found}")
