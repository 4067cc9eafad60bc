# Written by tools/make_python_stubs.py.
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

from ._methods import Method

__all__ = ["boost", "breadcrumbs", "cabs", "cart", "consensus", "dare", "emr", "fisher", "iso_c", "iso_cts", "knots", "lines", "localize_stitch", "magmax", "max_magnitude", "median", "metagpt", "opcm", "pcb", "regmean", "slerp", "soup", "stock", "svc", "task", "ties", "trimmed_mean", "tsvm", "wudi"]

@final
class _Boost(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        beta: float = 0.01,
        alpha: float = 1.0,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

boost: _Boost

@final
class _Breadcrumbs(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        keep: float = 0.15,
        remove: float = 0.006,
        alpha: float = 0.2,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

breadcrumbs: _Breadcrumbs

@final
class _Cabs(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        n: int = 64,
        m: int = 256,
        weights: float | Sequence[float] | None = None,
        prune: str = 'blocks',
        sparsity: float = 0.75,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

cabs: _Cabs

@final
class _Cart(Method):
    def __call__(
        self,
        models: Sequence[Any],
        rank: float = 0.04,
        scale: float = 1.6,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

cart: _Cart

@final
class _Consensus(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        lam: float | Sequence[float] | None = None,
        k: int = 2,
        alpha: float = 0.3,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

consensus: _Consensus

@final
class _Dare(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        p: float = 0.5,
        average: str = 'survivors',
        weights: float | Sequence[float] | None = None,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
class _Emr(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        task: int = 0,
        *,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

emr: _Emr

@final
class _Fisher(Method):
    def __call__(
        self,
        models: Sequence[Any],
        fishers: Sequence[Any] | None = None,
        floor: float = 0.001,
        floor_mode: str = 'relative',
        normalize: str = 'none',
        norms: float | Sequence[float] | None = None,
        weights: float | Sequence[float] | None = None,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

fisher: _Fisher

@final
class _IsoC(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        alpha: float = 1.0,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

iso_c: _IsoC

@final
class _IsoCts(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        alpha: float = 1.0,
        common: float = 0.8,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

iso_cts: _IsoCts

@final
class _Knots(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        mode: str = 'ties',
        topk: float = 20.0,
        scale: float = 0.6,
        aggregate: str = 'mean',
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

knots: _Knots

@final
class _Lines(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        beta: float = 0.5,
        alpha: float = -1.0,
        blocks: int = 0,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

lines: _Lines

@final
class _LocalizeStitch(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        keep: float = 0.05,
        tensors: str = 'blocks',
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

localize_stitch: _LocalizeStitch

@final
class _Magmax(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        scale: float = 0.5,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

magmax: _Magmax

@final
class _MaxMagnitude(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        scale: float = 1.0,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
class _Metagpt(Method):
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
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

metagpt: _Metagpt

@final
class _Opcm(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        alpha: float = 0.5,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

opcm: _Opcm

@final
class _Pcb(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        ratio: float = 0.1,
        scale: float = 1.2,
        clip: float = 0.0001,
        inter: str = 'raw',
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

pcb: _Pcb

@final
class _Regmean(Method):
    def __call__(
        self,
        models: Sequence[Any],
        grams: Sequence[Any] | None = None,
        reduce: float = 0.9,
        weights: float | Sequence[float] | None = None,
        layout: str = 'auto',
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

regmean: _Regmean

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
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
class _Svc(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        alpha: float = 0.1,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

svc: _Svc

@final
class _Task(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        signs: float | Sequence[float] | None = None,
        scale: float = 1.0,
        weights: float | Sequence[float] | None = None,
        scaling: str = 'mean',
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
        trim: str = 'layer',
        scale: float = 1.0,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

@final
class _Tsvm(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        alpha: float = 1.0,
        weights: float | Sequence[float] | None = None,
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

tsvm: _Tsvm

@final
class _Wudi(Method):
    def __call__(
        self,
        models: Sequence[Any],
        base_index: int | None = 0,
        iterations: int = 300,
        lr: float = 1e-05,
        solver: str = 'adam',
        *,
        task: str | None = ...,
        device: Any = ...,
        verbose: bool | None = ...,
        passthrough_layers: str | Iterable[str] | None = ...,
        passthrough: str | Iterable[str] | None = ...,
        exclude: str | Iterable[str] | None = ...,
        keep: Any = ...,
        then: str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None = ...,
        matrices: str | Iterable[str] | None = ...,
        tokenizer: str | None = ...,
        tokens: str | Iterable[str] | None = ...,
        pad_vocab: int = ...,
        chat_template: str | None = ...,
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

wudi: _Wudi
