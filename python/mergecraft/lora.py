"""LoRA adapters: merging, extracting from a fine-tuned model, baking into a base.

    adapter = mergecraft.lora.merge("svd", ["lora1", "lora2"], weights=[0.6, 0.4], rank=16)
    adapter.save("merged-lora")
    mergecraft.lora.extract("tuned", "base", rank=32, out="lora")
    mergecraft.lora.bake("lora", "base", out="baked")

Adapters are folders as PEFT saves them, repositories on the Hub, files of kohya's scripts or of
diffusers, PEFT models (their active adapter) or results of these functions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from . import _core, _tensors
from ._errors import ArgumentError, UsageError, warn
from ._inputs import Input
from ._plan import finish
from ._progress import Progress
from ._state_dict import StateDict

__all__ = ["Adapter", "bake", "extract", "merge"]


class Adapter:
    """A LoRA adapter that was merged or extracted. Factors are computed when they are read."""

    def __init__(self, plan: _core.LoraPlan) -> None:
        self._plan = plan

    @property
    def config(self) -> dict[str, Any] | None:
        """The adapter_config.json; None if the adapters are files without one."""
        config: dict[str, Any] | None = json.loads(self._plan.config or "null")
        return config

    @property
    def tensors(self) -> StateDict:
        """The tensors, named as in PEFT's files, or as in files without a configuration."""
        return StateDict._of(self._plan.dict)

    @property
    def info(self) -> dict[str, Any]:
        """Modules with rank and energy, energy per block, saved tensors; energies after save()."""
        info: dict[str, Any] = json.loads(self._plan.json)
        return info

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        threads: int = 0,
        verbose: bool | None = None,
    ) -> str:
        """Writes a folder that PEFT loads; returns its path.

        overwrite: replace it. threads: worker threads; 0: all CPUs. verbose: show a progress bar,
        or none.

        Raises:
            ExistsError: it exists, without overwrite=True.
        """
        before = len(self._plan.report)
        with Progress("writing", verbose) as progress:
            self._plan.run(folder, threads=threads, overwrite=overwrite, progress=progress)
        for line in self._plan.report[before:]:  # what only the values show
            warn(line)
        return os.fspath(folder)


def _is_peft(value: Any) -> bool:
    return hasattr(value, "peft_config") and hasattr(value, "get_base_model")


def _active(model: Any) -> str:
    # `active_adapter` is the first one, even if several are active.
    active = list(model.active_adapters)
    if len(active) != 1:
        raise UsageError(f"expected a PEFT model with one active adapter, found {active}")
    return str(active[0])


def _plain(value: Any) -> Any:
    """The JSON of a PEFT configuration: sets and enumerations become lists and text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(getattr(value, "value", value))


def _of_peft(model: Any, label: str) -> _core.Lora:
    import peft

    name = _active(model)
    core = _core.Dict()
    for key, tensor in peft.get_peft_model_state_dict(model, adapter_name=name).items():
        core.set(key, _tensors.to_source(tensor.contiguous(), f"{label}: tensor '{key}'"))
    config = _plain(model.peft_config[name].to_dict())
    return _core.wrap_lora(label, core, json.dumps(config))


def _open(value: Any, label: str, verbose: bool | None) -> _core.Lora:
    if isinstance(value, (str, os.PathLike)):
        with Progress("downloading", verbose) as progress:
            return _core.open_lora(value, progress)
    if isinstance(value, Adapter):
        return _core.wrap_lora(label, value._plan.dict, value._plan.config)
    if _is_peft(value):
        return _of_peft(value, label)
    found = type(value).__name__
    raise ArgumentError(
        f"{label}: expected a path, an id, a PEFT model or an Adapter, found {found}"
    )


def _open_all(adapters: Any, verbose: bool | None) -> list[_core.Lora]:
    single = isinstance(adapters, (str, os.PathLike, Adapter)) or _is_peft(adapters)
    if single or not isinstance(adapters, Iterable):
        raise ArgumentError(f"expected a list of adapters, found one {type(adapters).__name__}")
    return [_open(value, f"adapters[{i}]", verbose) for i, value in enumerate(adapters)]


def _setting(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"{name}={str(value).lower()}"
    if isinstance(value, (list, tuple)):
        return f"{name}=" + ",".join(repr(float(item)) for item in value)
    return f"{name}={value}"


def _finish(
    plan: _core.LoraPlan, out: Any, overwrite: bool, threads: int, verbose: bool | None
) -> Adapter:
    for line in plan.report:
        warn(line)
    adapter = Adapter(plan)
    if out is not None:
        adapter.save(out, overwrite=overwrite, threads=threads, verbose=verbose)
    return adapter


def merge(
    method: str,
    adapters: Iterable[Any],
    *,
    rank: int | None = None,
    energy: float | None = None,
    max_rank: int | None = None,
    exact: bool = False,
    seed: int = 0,
    dtype: Any = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int = 0,
    verbose: bool | None = None,
    **params: Any,
) -> Adapter:
    """Merges adapters into one; the base is not needed.

    Args:
        method: a combination type of PEFT's add_weighted_adapter, knots_… or core_…
            (docs/lora.md), or a method of mergecraft that works on elements or rows.
        adapters: paths, ids, PEFT models or Adapters.
        rank, energy, max_rank, exact: as for extract, of merges that decompose their result.
        seed: of methods that draw random numbers. dtype: of the result's tensors ('bf16').
        out: a folder that the adapter is written to; overwrite: replace it.
        strict: treat warnings as errors. threads: worker threads; 0: all CPUs. verbose: show a
            progress bar, or none.
        params: the method's parameters, such as weights=[0.6, 0.4] and density=0.5.

    Raises:
        UsageError: the method or a parameter. MismatchError: adapters of different models.
        NotFoundError, FormatError: an adapter. ExistsError: `out` exists.
    """
    plan = _core.lora_merge(
        method,
        _open_all(adapters, verbose),
        [_setting(name, value) for name, value in params.items()],
        rank or 0,
        energy or 0.0,
        max_rank or 0,
        exact,
        seed,
        strict,
        None if dtype is None else _tensors.dtype_named(dtype),
    )
    return _finish(plan, out, overwrite, threads, verbose)


def extract(
    model: Any,
    base: Any,
    *,
    rank: int | None = None,
    energy: float | None = None,
    max_rank: int | None = None,
    exact: bool = False,
    save: Iterable[str] = (),
    exclude: Iterable[str] = (),
    embeddings: bool = False,
    seed: int = 0,
    dtype: Any = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int = 0,
    verbose: bool | None = None,
) -> Adapter:
    """Makes an adapter from the difference between a fine-tuned model and its base.

    Args:
        model, base: ids, paths, modules or dicts.
        rank: 32 unless energy is given, the share of the squared singular values that each module
            keeps, up to max_rank. exact: a full decomposition instead of a randomised one.
        save: patterns of modules that are saved whole; exclude: of modules that are left out.
        embeddings: also decompose embeddings.
        seed: of the randomised decomposition. dtype: of the adapter's tensors ('bf16').
        out: a folder that the adapter is written to; overwrite: replace it.
        strict: treat warnings as errors. threads: worker threads; 0: all CPUs. verbose: show a
            progress bar, or none.

    Raises:
        MismatchError: models of different shapes. UnsupportedError: LAPACK is missing.
        NotFoundError, FormatError: a model. ExistsError: `out` exists.
    """
    tuned = Input(model, "model", verbose=verbose, to_folder=True)
    origin = Input(base, "base", verbose=verbose, to_folder=True)
    plan = _core.lora_extract(
        tuned.core,
        origin.core,
        list(save),
        list(exclude),
        embeddings,
        rank or 0,
        energy or 0.0,
        max_rank or 0,
        exact,
        seed,
        strict,
        None if dtype is None else _tensors.dtype_named(dtype),
    )
    return _finish(plan, out, overwrite, threads, verbose)


def _base_of(model: Any) -> Any:
    """The tensors of a PEFT model's base, under the names that they have without PEFT."""
    tensors = {}
    for name, tensor in model.get_base_model().state_dict().items():
        if "lora_" in name or ".modules_to_save." in name:
            continue
        plain = name.replace(".base_layer.", ".").replace(".original_module.", ".")
        tensors[plain] = tensor
    return tensors


def bake(
    adapters: Any,
    base: Any = None,
    *,
    dtype: Any = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int = 0,
    verbose: bool | None = None,
) -> Any:
    """Applies adapters to their base, in order.

    Args:
        adapters: one, or a list, of paths, ids, PEFT models or Adapters.
        base: an id, a path, a module or a dict; by default the base that the first adapter names,
            or the PEFT model that it is.
        dtype: of the result's float tensors; by default the base's.
        out: a folder to write to; overwrite: replace it.
        strict: treat warnings as errors. threads: worker threads; 0: all CPUs. verbose: show a
            progress bar, or none.

    Returns:
        The path `out` if it is given, else a StateDict, whose tensors are computed when they are
        read.

    Raises:
        UsageError: no base. MismatchError: an adapter of another model. ExistsError: `out` exists.
    """
    single = isinstance(adapters, (str, os.PathLike, Adapter)) or _is_peft(adapters)
    given = [adapters] if single else list(adapters)
    if not given:
        raise UsageError("expected adapters to bake, found none")
    loras = [_open(value, f"adapters[{i}]", verbose) for i, value in enumerate(given)]
    origin: Any = base
    if origin is None:
        origin = _base_of(given[0]) if _is_peft(given[0]) else loras[0].base
    if origin is None:
        raise UsageError("expected a base model: the first adapter names none")
    model = _core.lora_apply(Input(origin, "base", verbose=verbose, to_folder=True).core, loras)
    method = next(m for m in _core.methods() if (m.family, m.name) == ("mergekit", "passthrough"))
    name = None if dtype is None else _tensors.dtype_named(dtype)
    plan = _core.Plan(method, [model], None, [], [], 0, strict, name, None, None)
    return finish(plan, out, overwrite, threads, verbose)
