"""torch modules as state dicts: tensors, names on disk, copies with other tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _core, _tensors
from ._errors import MismatchError, UnsupportedError, counted, shown, warn

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

NAME, MODULE, PIPELINE, DICT, OWN = (
    "id or path",
    "module",
    "pipeline",
    "dict",
    "mergecraft.Pipeline",
)


def kind_of(value: Any) -> str | None:
    """Returns the kind of a model, None if the value is not a model."""
    if isinstance(value, (str, os.PathLike)):
        return NAME
    if _tensors.is_module(value):
        return MODULE
    if isinstance(value, Mapping):
        return DICT
    if getattr(value, "_is_mergecraft_pipeline", False):
        return OWN
    return PIPELINE if _tensors.is_module(getattr(value, "model", None)) else None


# ---- wrappers ------------------------------------------------------------------------------------


def unwrap(module: Any) -> Any:
    """Returns the module inside torch.compile, DataParallel and DistributedDataParallel."""
    import torch

    parallel: tuple[type, ...] = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(module, parallel):
            module = module.module  # type: ignore[attr-defined, unused-ignore]
        elif _tensors.is_module(getattr(module, "_orig_mod", None)):  # torch.compile
            module = module._orig_mod
        else:
            return module


def check_mergeable(module: Any, label: str) -> None:
    """Raises for modules whose weights are not in their tensors: adapters, quantised, pruned."""
    for name, part in module.named_modules():
        where = f"{label}: module '{name}'" if name else label
        kind = type(part)
        if hasattr(part, "base_layer") and kind.__module__.startswith("peft."):
            raise UnsupportedError(
                f"{where}: expected plain weights, found a PEFT adapter ({kind.__name__}): "
                "merge_and_unload() folds it into the weights"
            )
        if hasattr(part, "_packed_params") or kind.__module__.startswith("bitsandbytes."):
            raise UnsupportedError(
                f"{where}: expected plain weights, found a quantised {kind.__name__}: "
                "merge the model before it is quantised"
            )
        if any(is_pruning(hook) for hook in part._forward_pre_hooks.values()):
            raise UnsupportedError(
                f"{where}: expected plain weights, found pruned ones: "
                "torch.nn.utils.prune.remove() makes the pruning permanent"
            )
    if getattr(module, "is_quantized", False) is True:
        raise UnsupportedError(
            f"{label}: expected plain weights, found a quantised {type(module).__name__}: "
            "dequantize() restores them"
        )


def is_pruning(hook: Any) -> bool:
    """Returns whether a hook is that of a pruned weight: weight_orig times weight_mask."""
    return any(kind.__name__ == "BasePruningMethod" for kind in type(hook).__mro__)


def is_sentence_transformer(module: Any) -> bool:
    """Returns whether a module is of sentence-transformers, which saves a folder per part."""
    return any(kind.__name__ == "SentenceTransformer" for kind in type(module).__mro__)


# ---- tensors -------------------------------------------------------------------------------------


def parameters_of(module: Any) -> dict[str, Any]:
    """Returns the parameters by name; a tied one once, under its first name."""
    return dict(module.named_parameters())


def buffers_of(module: Any) -> dict[str, Any]:
    """Returns the buffers that a checkpoint holds, such as BatchNorm's running statistics."""
    stored = module.state_dict().keys()
    return {name: buffer for name, buffer in module.named_buffers() if name in stored}


def tensors_of(module: Any) -> dict[str, Any]:
    """Returns the parameters and buffers that a checkpoint holds; a tied one once."""
    return {**parameters_of(module), **buffers_of(module)}


def tied_names(module: Any) -> dict[str, Any]:
    """Returns the other names of tied parameters, which tensors_of leaves out."""
    once = parameters_of(module)
    every = dict(module.named_parameters(remove_duplicate=False))
    return {name: every[name] for name in every if name not in once}


def on_disk(module: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tensors of a transformers module under the names that save_pretrained writes.

    From version 5 on, transformers renames and fuses tensors when it loads a checkpoint (experts,
    for instance) and reverts that when it saves one.
    """
    ignored = getattr(module, "_keys_to_ignore_on_save", None) or ()
    kept = {name: tensor for name, tensor in tensors.items() if name not in ignored}
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before version 5, or not installed
        return kept
    if not hasattr(module, "save_pretrained"):
        return kept
    import torch

    with torch.no_grad():
        return dict(revert_weight_conversion(module, kept))


def config_of(module: Any) -> str | None:
    """Returns the text of config.json for a module of transformers, None for others."""
    import json

    config = getattr(module, "config", None)
    if config is None or not hasattr(config, "to_dict"):
        return None
    values = json.loads(config.to_json_string(use_diff=False))
    if not values.get("architectures"):
        values["architectures"] = [type(module).__name__]
    return json.dumps(values)


def with_tensors(
    module: Any, others: Mapping[str, Any], dtype: str | None, strict: bool = False
) -> Any:
    """Returns a copy of a module with other tensors, which are not copied.

    dtype: given if the tensors have the requested dtype; otherwise they get the module's.
    """
    import copy

    import torch

    memo: dict[int, Any] = {}
    own = tensors_of(module)
    names = [name for name in own if name in others]
    if not names:
        raise MismatchError("the model has none of the state dict's names")
    report_dropped(others, own, type(module).__name__, strict)
    if dtype is None:
        _report_narrowed(own, {name: others[name] for name in names}, strict)
    with torch.no_grad():
        for name in names:
            memo[id(own[name])] = _placed(name, own[name], others[name], dtype)
    return copy.deepcopy(module, memo)


def _placed(name: str, old: Any, tensor: Any, dtype: str | None) -> Any:
    """Returns a tensor as the module holds it: dtype, device, Parameter."""
    import torch

    if tuple(tensor.shape) != tuple(old.shape):
        raise MismatchError(
            f"layer '{name}': expected shape {list(old.shape)} as the model has it, "
            f"found {list(tensor.shape)}"
        )
    if not _tensors.is_torch(tensor):
        tensor = _tensors.like(tensor, old)
    wanted = tensor.dtype if dtype and tensor.is_floating_point() else old.dtype
    tensor = tensor.detach().to(device=old.device, dtype=wanted)
    if isinstance(old, torch.nn.Parameter):
        return torch.nn.Parameter(tensor, requires_grad=old.requires_grad)
    return tensor


def _report_narrowed(own: Mapping[str, Any], others: Mapping[str, Any], strict: bool) -> None:
    """Reports tensors that lose precision in a module."""
    narrowed = {}
    for name, tensor in others.items():
        before, after = _tensors.dtype_of(tensor), _tensors.dtype_of(own[name])
        floats = _core.is_float(before) and _core.is_float(after)
        if floats and before != after and _core.widest(before, after) != after:
            narrowed[name] = f"{before} to {after}"
    if not narrowed:
        return
    how = next(iter(narrowed.values()))
    text = f"{counted(narrowed)} rounded from {how} as the model has them: {shown(narrowed)}"
    if strict:
        raise MismatchError(f"{text} (strict)")
    warn(text)


def report_dropped(
    given: Mapping[str, Any], own: Mapping[str, Any], model: str, strict: bool
) -> None:
    """Reports the names of a dict that a model does not have."""
    dropped = [name for name in given if name not in own]
    if not dropped:
        return
    text = f"{counted(dropped)} not in {model} and left out: {shown(dropped)}"
    if strict:
        raise MismatchError(f"{text} (strict)")
    warn(text)
