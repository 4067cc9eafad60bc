"""StateDict: an ordered dict of tensors with arithmetic."""

from __future__ import annotations

import os
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from . import _core, _tensors
from ._errors import ArgumentError, ExistsError, MismatchError, NotFoundError, UsageError
from ._progress import Progress, open_models

TYPE_CHECKING = False  # typing is not imported when the program runs
if TYPE_CHECKING:
    from typing import Any

    import torch

    from ._tensors import Tensor

if TYPE_CHECKING:
    _Dict = dict[str, Any]
else:
    _Dict = dict

_MISSING: Any = object()


def _combine(symbol: str, a: Any, b: Any) -> Any:
    if symbol == "+":
        return a + b
    if symbol == "-":
        return a - b
    return a * b if symbol == "*" else a / b


class StateDict(_Dict):
    """An ordered dict from names to tensors: torch's, or numpy's where torch is not installed.

    Tensors of a checkpoint are mapped when they are first looked at and read from the disk when they are used; they are private
    (copy-on-write): changing one never changes the file.

    Arithmetic (``+ - * /``, in place too, and unary minus) with a number, a tensor, another dict or a module works name by name;
    with a dict, over the names that both have. Each result is computed in float32 (float64 where there is such) and rounded once to
    the wider dtype of the two; tensors that are not floats are taken from the left operand. In-place operations replace the entries of
    this dict and never write into tensors that others may hold.
    """

    # Entries that nobody has looked at are _core.Source; every way to a value goes through __getitem__.

    @classmethod
    def from_model(cls, model: torch.nn.Module | Any) -> StateDict:
        """The parameters of a module, or of a pipeline's model, without a copy; a tied one once, under its first name.

        Raises:
            ArgumentError: it is no module.
        """
        if getattr(model, "_is_mergecraft_pipeline", False):
            return cls(model.state_dict())
        module = model if _tensors.is_module(model) else getattr(model, "model", model)
        if not _tensors.is_module(module):
            raise ArgumentError(f"expected a torch.nn.Module or a pipeline, found {type(model).__name__}")
        return cls((name, parameter.detach()) for name, parameter in module.named_parameters())

    @classmethod
    def from_hf(cls, name: str | os.PathLike[str], **kwargs: Any) -> StateDict:
        """The tensors of a checkpoint: a folder, a file, or an id of the Hub. Nothing is read before it is used.

        Other keywords (task, device_map, …) are accepted for the sake of older code and not needed.

        Raises:
            NotFoundError, FormatError: it is not there, or not a checkpoint.
        """
        return cls._of(open_models([_tensors.path_of(name, "from_hf")])[0].dict)

    @classmethod
    def zeros_like(cls, model: torch.nn.Module | Mapping[str, Any] | str | os.PathLike[str]) -> StateDict:
        """Zeros with the names, shapes and dtypes of a module, a dict, or a checkpoint."""
        return as_state_dict(model, "zeros_like")._map(_zeros)

    @classmethod
    def _of(cls, core: _core.Dict) -> StateDict:
        made = cls()
        for name, source in core.items():
            dict.__setitem__(made, name, source)
        return made

    # ---- access -----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if type(value) is _core.Source:
            value = _tensors.from_source(value)
            super().__setitem__(name, value)
        return value

    def __iter__(self) -> Iterator[str]:  # also tells dict(self) to ask for the values one by one
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return ItemsView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self)

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        if name not in self and default is not _MISSING:
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        if not self:
            raise KeyError("popitem(): the state dict is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def __eq__(self, other: object) -> bool:
        """Whether names, in any order, dtypes, shapes and values are the same."""
        if not isinstance(other, Mapping) or self.keys() != other.keys():
            return False
        return all(_same(self[name], other[name]) for name in self)

    def __ne__(self, other: object) -> bool:  # dict's own would ask arrays whether they are true
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        shown = [f"{name}: {self._shown(name)}" for name in list(self)[:3]]
        more = f", … {len(self)} in all" if len(self) > 3 else ""
        return f"StateDict({', '.join(shown)}{more})"

    def _shown(self, name: str) -> str:
        value = super().__getitem__(name)
        if type(value) is not _core.Source and not _tensors.is_tensor(value):
            return type(value).__name__
        return f"{self._dtype(name)} {list(value.shape)}"

    def _entry(self, name: str, what: str = "") -> Any:
        """What there is: a tensor, or the source of one that nobody has looked at."""
        value = super().__getitem__(name)
        if type(value) is not _core.Source and not _tensors.is_tensor(value):
            raise ArgumentError(f"{what}layer '{name}': expected a tensor, found {type(value).__name__}")
        return value

    def _dtype(self, name: str) -> str:
        value = self._entry(name)
        return value.dtype if type(value) is _core.Source else _tensors.dtype_of(value)

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._entry(name).shape)

    def _source(self, name: str, what: str) -> _core.Source:
        if not isinstance(name, str):
            raise ArgumentError(f"{what}expected names of layers as text, found {name!r}")
        if "\0" in name or _tensors.is_broken(name):
            raise UsageError(f"{what}expected names of layers as text in UTF-8 without zeros, found {name!r}")
        value = self._entry(name, what)
        return value if type(value) is _core.Source else _tensors.to_source(value, f"{what}layer '{name}'")

    def _layer(self, name: str) -> Tensor:
        """A tensor to compute with, which is nobody else's; the entry stays as it is."""
        value = self._entry(name)
        dtype = _tensors.layer_dtype(self._dtype(name))
        if type(value) is _core.Source:
            return _tensors.from_source(value, dtype)
        return _tensors.copy_as(value, dtype)

    def _core(self, label: str = "") -> _core.Dict:
        """As the library has it. label: said before the text of errors."""
        made = _core.Dict()
        for name in self:
            made.set(name, self._source(name, f"{label}: " if label else ""))
        return made

    def _map(self, function: Callable[[Tensor], Tensor]) -> StateDict:
        return StateDict((name, function(self[name])) for name in self)

    # ---- arithmetic -------------------------------------------------------------------------

    def _with_value(self, symbol: str, name: str, other: Any, reflected: bool) -> Tensor:
        """One entry of an operation's result."""
        own = self._dtype(name)
        if not _core.is_float(own):
            return self[name]
        dtype, right = own, other
        left = self._read(name)
        if _tensors.is_tensor(other):
            right = _tensors.like(_tensors.plain(other), left)
            other_dtype = _tensors.dtype_of(other)
            if _core.is_float(other_dtype):
                dtype = _core.widest(own, other_dtype) if other.ndim else own
                right = _tensors.cast(right, _tensors.layer_dtype(dtype))
        left = _tensors.cast(left, _tensors.layer_dtype(dtype))
        shape = self._shape(name)
        if not _tensors.is_broadcast(other, shape):
            raise MismatchError(
                f"layer '{name}': {symbol}: expected a number or a tensor for shape {list(shape)}, found one of {list(other.shape)}"
            )
        result = _combine(symbol, right, left) if reflected else _combine(symbol, left, right)
        return _tensors.cast(result, dtype)

    def _read(self, name: str) -> Tensor:
        """The tensor, only to be read; the entry stays as it is."""
        value = self._entry(name)
        return _tensors.from_source(value) if type(value) is _core.Source else _tensors.plain(value)

    def _operate(self, symbol: str, other: Any, reflected: bool = False) -> Any:
        if _tensors.is_tensor(other) and _tensors.dtype_of(other).startswith("complex"):
            raise ArgumentError(f"{symbol}: expected a real number or tensor, found one of {_tensors.dtype_of(other)}")
        if isinstance(other, (int, float)) or _tensors.is_tensor(other):
            return StateDict((name, self._with_value(symbol, name, other, reflected)) for name in self)
        if not isinstance(other, Mapping) and not _tensors.is_module(other):
            return NotImplemented
        dictionary = as_state_dict(other, symbol)
        common = [name for name in self if name in dictionary]
        if not common and self:
            raise MismatchError("the state dicts have no name in common")
        return StateDict((name, self._with_dict(symbol, name, dictionary, reflected)) for name in common)

    def _with_dict(self, symbol: str, name: str, other: StateDict, reflected: bool) -> Tensor:
        if self._shape(name) != other._shape(name):
            left, right = (other, self) if reflected else (self, other)
            raise MismatchError(
                f"layer '{name}': shape {list(left._shape(name))} on the left of {symbol}, "
                f"{list(right._shape(name))} on the right"
            )
        if not _core.is_float(other._dtype(name)) and _core.is_float(self._dtype(name)):
            raise MismatchError(f"layer '{name}': {self._dtype(name)} on the left of {symbol}, {other._dtype(name)} on the right")
        return self._entry_of_dict(symbol, name, other, reflected)

    def _entry_of_dict(self, symbol: str, name: str, other: StateDict, reflected: bool) -> Tensor:
        own = self._dtype(name)
        if not _core.is_float(own):
            return self[name]
        dtype = _core.widest(own, other._dtype(name))
        compute = _tensors.layer_dtype(dtype)
        left = _tensors.cast(self._read(name), compute)
        right = _tensors.cast(_tensors.like(other._read(name), left), compute)
        return _tensors.cast(_combine(symbol, right, left) if reflected else _combine(symbol, left, right), dtype)

    def _in_place(self, symbol: str, other: Any) -> Any:
        result = self._operate(symbol, other)
        if result is NotImplemented:
            return NotImplemented
        if len(result) < len(self):
            for name in [name for name in self if name not in result]:
                del self[name]
        self.update(result)
        return self

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

    def __neg__(self) -> StateDict:
        return self._operate("*", -1)  # type: ignore[no-any-return]

    def __pos__(self) -> StateDict:
        return self.copy()

    def __or__(self, other: Any) -> Any:
        if not isinstance(other, Mapping):
            return NotImplemented
        made = self.copy()
        made.update(other)
        return made

    def __ror__(self, other: Any) -> Any:
        return StateDict(other) | self if isinstance(other, Mapping) else NotImplemented

    __array_ufunc__ = None  # arrays of numpy leave operations with a StateDict to it

    # ---- names ------------------------------------------------------------------------------

    def filter_values(self, predicate: Callable[[Any], bool]) -> StateDict:
        """Keeps the entries for whose tensor the predicate is true. Changes this dict, and returns it."""
        for name in [name for name in self if not predicate(self[name])]:
            del self[name]
        return self

    def remove(self, names: Iterable[str]) -> StateDict:
        """Removes the names (those that there are). Changes this dict, and returns it."""
        for name in [names] if isinstance(names, str) else list(names):
            dict.pop(self, name, None)
        return self

    def subset(self, names: Iterable[str]) -> StateDict:
        """A new dict of these names, in their order; tensors are shared.

        Raises:
            KeyError: a name is missing.
        """
        made = StateDict()
        for name in [names] if isinstance(names, str) else names:
            if name not in self:
                raise KeyError(f"the state dict has no '{name}'")
            dict.__setitem__(made, name, dict.__getitem__(self, name))
        return made

    def copy(self) -> StateDict:
        """A new dict of the same tensors, which are shared."""
        return self.subset(list(self))

    __copy__ = copy

    # ---- elsewhere --------------------------------------------------------------------------

    def to(self, device: Any) -> StateDict:
        """A new dict whose tensors are on a device of torch ('cpu', 'cuda', …); those that are there already are shared."""
        if not _tensors.has_torch():
            if str(device) == "cpu":
                return self.copy()
            raise UsageError(f"expected 'cpu', found '{device}': other devices need torch")
        return self._map(lambda tensor: tensor.to(device))

    def to_model(self, model: Any, verbose: bool | None = False, **kwargs: Any) -> Any:
        """What `model` is, with these tensors in it: a copy of a module or of a dict; a pipeline for an id or a folder.

        Names that the model has and this dict lacks keep the model's values.

        Raises:
            MismatchError: no name is common, or a shape differs.
        """
        from ._models import put_into

        return put_into(self, model, {"verbose": verbose, **kwargs})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False, verbose: bool | None = None) -> None:
        """Writes the tensors as safetensors: one file if `path` ends with .safetensors, else a folder (shards above 5 GB).

        It appears under its name when it is complete.

        Raises:
            ExistsError: it is there already, without overwrite.
        """
        import shutil
        import tempfile

        target = _tensors.path_of(path, "save")
        with Progress("saving", verbose) as progress:
            if not target.endswith(".safetensors"):
                self._core().save(target, overwrite=overwrite, progress=progress)
                return
            if os.path.isdir(target):
                raise ExistsError(f"{target}: expected a file, found a folder")
            if os.path.exists(target) and not overwrite:
                raise ExistsError(f"{target}: exists already: say overwrite=True to replace it")
            parent = os.path.dirname(os.path.abspath(target))
            if not os.path.isdir(parent):
                raise NotFoundError(f"{parent}: expected a folder, found none")
            folder = tempfile.mkdtemp(prefix=".mergecraft-", dir=parent)
            try:
                inner = os.path.join(folder, "saved")
                self._core().save(inner, shard_size=1 << 62, progress=progress)
                os.replace(os.path.join(inner, "model.safetensors"), target)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def _zeros(tensor: Tensor) -> Tensor:
    if _tensors.is_torch(tensor):
        import torch

        return torch.zeros_like(tensor)
    import numpy

    return numpy.zeros_like(tensor)


def _same(a: Any, b: Any) -> bool:
    if not (_tensors.is_tensor(a) and _tensors.is_tensor(b)):
        return bool(a == b)
    if tuple(a.shape) != tuple(b.shape) or _tensors.dtype_of(a) != _tensors.dtype_of(b):
        return False
    return bool((a == _tensors.like(b, a)).all())


def as_state_dict(value: Any, what: str) -> StateDict:
    """A StateDict of a dict, a module, a pipeline, or a checkpoint's name; tensors are shared."""
    if isinstance(value, StateDict):
        return value
    if isinstance(value, Mapping):
        made = StateDict(value)
        for name, tensor in made.items():
            if not _tensors.is_tensor(tensor):
                raise ArgumentError(f"{what}: expected a tensor under '{name}', found {type(tensor).__name__}")
        return made
    if isinstance(value, (str, os.PathLike)):
        return StateDict.from_hf(value)
    if getattr(value, "_is_mergecraft_pipeline", False):
        return StateDict.from_model(value)
    if _tensors.is_module(value) or _tensors.is_module(getattr(value, "model", None)):
        return StateDict.from_model(value)
    raise ArgumentError(f"{what}: expected a module, a dict, or a checkpoint's name, found {type(value).__name__}")
