"""Pipeline: text classification in C."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _core, _names, _tensors
from ._arguments import whole
from ._errors import (
    ArgumentError,
    MismatchError,
    UsageError,
    counted,
    shown,
    unknown_keyword,
    warn,
)
from ._progress import Progress, open_models
from ._state_dict import StateDict

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

    import numpy


def precision(dtype: Any) -> str:
    name = _tensors.dtype_named(dtype)
    if name not in ("float32", "bfloat16", "int8"):
        raise UsageError(f"dtype: expected 'f32', 'bf16' or 'int8', found {dtype!r}")
    return name


# Keywords of transformers' pipelines that change nothing in what comes out.
_OF_TRANSFORMERS = ("truncation", "padding", "batch_size", "num_workers")


class Pipeline:
    """A text-classification pipeline that runs in C: tokenizer, encoder and labels of a model.

    Args:
        model: a folder, or an id of the Hub.
        dtype: of matrix products: 'f32', 'bf16' or 'int8'.
        threads: 0 means all CPUs.

    Call it with a text, a pair ``{'text': …, 'text_pair': …}``, or a list of them. As in
    transformers, a text returns a list of one ``{'label': …, 'score': …}``, a pair one, a list a
    list. ``top_k=None`` returns all labels, best first. Keywords of transformers that change
    nothing here are accepted: truncation, padding, batch_size, num_workers. Its `task` is
    'text-classification'.

    Raises:
        UnsupportedError: an unsupported architecture or tokenizer. NotFoundError: no such model.
    """

    _is_mergecraft_pipeline = True
    task = "text-classification"

    def __init__(
        self, model: str | os.PathLike[str], *, dtype: Any = "f32", threads: int = 0
    ) -> None:
        self._set(
            open_models([_tensors.path_of(model, "model")])[0],
            precision(dtype),
            whole("threads", threads),
        )

    def _set(self, model: _core.Model, dtype: str, threads: int) -> None:
        self._model, self._dtype, self._threads = model, dtype, threads
        self._opened: _core.Pipeline | None = None

    @classmethod
    def _of(
        cls, core: _core.Model, tensors: StateDict, dtype: str = "float32", threads: int = 0
    ) -> Pipeline:
        """A model's configuration and tokenizer with other weights."""
        made = cls.__new__(cls)
        made._set(
            _core.wrap_model(core.name, tensors._core(), core.config, core.folder), dtype, threads
        )
        return made

    def _with(self, tensors: Mapping[str, Any]) -> Pipeline:
        whole = self.state_dict()
        whole.update((name, tensors[name]) for name in tensors)
        return self._of(self._model, whole, self._dtype, self._threads)

    def __reduce__(self) -> Any:
        core = self._model
        return _unpickled, (
            core.name,
            self.state_dict(),
            core.config,
            core.folder,
            self._dtype,
            self._threads,
        )

    @property
    def _runner(self) -> _core.Pipeline:
        if self._opened is None:
            self._opened = _core.Pipeline(self._model, self._dtype, self._threads)
        return self._opened

    @property
    def labels(self) -> list[str]:
        """The names of the labels, in the order of the logits."""
        return self._runner.labels

    def state_dict(self) -> StateDict:
        """The weights; private views of the file, or of the merge's result."""
        return StateDict._of(self._model.dict)

    def load(self, tensors: Mapping[str, Any], *, strict: bool = False) -> Pipeline:
        """Replaces the weights in place by `tensors`, a dict, and returns the pipeline.

        Names are matched as in merges. Names that only one of the two has are reported by a
        MergeWarning, or with strict=True an error; those that the dict lacks keep their values.
        """
        own, given = self.state_dict(), StateDict(tensors)
        found = _names.match(list(own), given.keys())
        used = set(found.values())
        alone = [n for n in own if n not in found] + [n for n in given if n not in used]
        if not found or (alone and strict):
            raise MismatchError(f"load: in one state dict only: {shown(alone)}")
        if alone:
            warn(f"load: {counted(alone)} in one state dict only: {shown(alone)}")
        for name, its in found.items():
            own[name] = dict.__getitem__(given, its)
        core = self._model
        self._model = _core.wrap_model(core.name, own._core(), core.config, core.folder)
        if self._opened is not None:
            self._opened.load(self._model.dict)
        return self

    def logits(self, texts: Any, *, verbose: bool | None = None) -> numpy.ndarray[Any, Any]:
        """Returns logits of texts or pairs: float32, [texts][labels]. verbose: show progress."""
        items = _items(texts)
        with Progress("texts", verbose, "tokens") as progress:
            return self._array(self._runner.logits(items, progress), len(items))

    def _array(self, memory: _core.Memory, count: int) -> numpy.ndarray[Any, Any]:
        import numpy

        return numpy.frombuffer(memoryview(memory), numpy.float32).reshape(count, len(self.labels))

    def __call__(
        self, texts: Any, *, top_k: int | None = 1, verbose: bool | None = None, **others: Any
    ) -> Any:
        for name in others:
            if name not in _OF_TRANSFORMERS:
                raise unknown_keyword("Pipeline", name, ["top_k", "verbose", *_OF_TRANSFORMERS])
        top_k = None if top_k is None else whole("top_k", top_k, 1)
        single = isinstance(texts, (str, Mapping))
        items = _items(texts)
        with Progress("texts", verbose, "tokens") as progress:
            scores = self._array(self._runner.classify(items, progress), len(items))
        found = [self._best(row, top_k) for row in scores]
        if top_k == 1:
            return [one[0] for one in found] if not isinstance(texts, Mapping) else found[0][0]
        return found[0] if single else found

    def _best(self, scores: Any, top_k: int | None) -> list[dict[str, Any]]:
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        return [{"label": self.labels[i], "score": float(scores[i])} for i in order[:top_k]]

    def __repr__(self) -> str:
        return f"<mergecraft.Pipeline {self._model.name} ({self._model.architecture})>"


def _unpickled(
    name: str, tensors: StateDict, config: str | None, folder: str | None, dtype: str, threads: int
) -> Pipeline:
    made = Pipeline.__new__(Pipeline)
    made._set(_core.wrap_model(name, tensors._core(), config, folder), dtype, threads)
    return made


def _items(texts: Any) -> list[tuple[str, str | None]]:
    if isinstance(texts, (str, Mapping)):
        return [_item(texts)]
    if not hasattr(texts, "__iter__"):
        raise ArgumentError(f"expected a text or a list of texts, found {type(texts).__name__}")
    return [_item(text) for text in texts]


def _item(text: Any) -> tuple[str, str | None]:
    found: tuple[Any, Any] = (text, None)
    if isinstance(text, Mapping):
        found = text.get("text"), text.get("text_pair")
    elif isinstance(text, (tuple, list)) and len(text) == 2 and text[1] is not None:
        found = text[0], text[1]
    if not isinstance(found[0], str) or not isinstance(found[1], (str, type(None))):
        raise ArgumentError(f"expected a text, or {{'text': …, 'text_pair': …}}, found {text!r}")
    for part in found:
        if part is not None and _tensors.is_broken(part):
            raise UsageError(
                f"expected a text in Unicode, found one with half a character: {part!r}"
            )
    return found
