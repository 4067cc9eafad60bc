# Written by tools/make_python_stubs.py.
import os
from collections.abc import Iterable, Sequence
from typing import Any, final

from ._methods import Method

__all__ = [
    "dare",
    "max_magnitude",
    "median",
    "slerp",
    "soup",
    "stock",
    "task",
    "ties",
    "trimmed_mean",
]

@final
class _Dare(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        p: float = 0.5,
        average: str = "survivors",
        weights: float | Sequence[float] | None = None,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

dare: _Dare

@final
class _MaxMagnitude(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

max_magnitude: _MaxMagnitude

@final
class _Median(Method):
    def __call__(
        self,
        models: Sequence[Any],
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_index: int | None = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

median: _Median

@final
class _Slerp(Method):
    def __call__(
        self,
        models: Sequence[Any],
        tau: float = 0.5,
        eps: float = 1e-07,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_index: int | None = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

slerp: _Slerp

@final
class _Soup(Method):
    def __call__(
        self,
        models: Sequence[Any],
        weights: float | Sequence[float] | None = None,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_index: int | None = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

soup: _Soup

@final
class _Stock(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

stock: _Stock

@final
class _Task(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        signs: float | Sequence[float] | None = None,
        scale: float = 1.0,
        weights: float | Sequence[float] | None = None,
        scaling: str = "mean",
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

task: _Task

@final
class _Ties(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        k: float = 0.1,
        weights: float | Sequence[float] | None = None,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

ties: _Ties

@final
class _TrimmedMean(Method):
    def __call__(
        self,
        models: Sequence[Any],
        trim: float = 0.2,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        base_index: int | None = ...,
        base_model: Any = ...,
        out: str | os.PathLike[str] | None = ...,
        dtype: Any = ...,
        seed: int = ...,
        strict: bool = ...,
        threads: int = ...,
        memory: int = ...,
        shard_size: int = ...,
        overwrite: bool = ...,
        sync: bool = ...,
    ) -> Any: ...

trimmed_mean: _TrimmedMean
