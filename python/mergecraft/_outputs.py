"""The result of a merge: the same kind as the last model, with other tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _core, _modules, _names, _tensors, _transformers
from ._errors import (
    ArgumentError,
    ExistsError,
    MismatchError,
    NotFoundError,
    UnsupportedError,
    UsageError,
    shown,
    counted,
    warn,
)
from ._inputs import Input
from ._modules import DICT, MODULE, NAME, OWN, PIPELINE, kind_of
from ._pipeline import Pipeline
from ._progress import Progress, open_models
from ._state_dict import StateDict, as_state_dict

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any


def check_task(last: Input, task: Any) -> Any:
    """Returns the task's own name, before anything is merged.

    Raises:
        UsageError: the task does not exist. UnsupportedError: the last model does not support it.
    """
    if task is None or last.kind != NAME:
        return task
    if not isinstance(task, str):
        raise ArgumentError(f"task: expected the name of a task, found {task!r}")
    if not _transformers.is_installed():
        if task not in (Pipeline.task, "sentiment-analysis"):
            raise UsageError(
                f"task: expected '{Pipeline.task}', found '{task}': others need transformers; "
                "out='FOLDER' writes the merged model without loading it"
            )
        return Pipeline.task
    task = _transformers.check_task(task)
    if last.core.config is not None and last.core.folder is not None:
        _transformers.class_for(last.core, _transformers.configuration(last.core), task)
    return task


def hand_back(tensors: StateDict, last: Input, device: Any, options: Mapping[str, Any]) -> Any:
    """Returns the same kind as the last model, with these tensors.

    options: `task` for pipelines; `dtype` if the tensors have a requested dtype; `strict`; `whole`
    if tensors of the last model stay where there are none (a base's may have other names).
    """
    strict = bool(options.get("strict"))
    if last.kind == DICT:
        return tensors if device is None else tensors.to(device)
    if last.kind == NAME:
        whole = StateDict._of(last.core.dict) | tensors if options.get("whole") else tensors
        result = pipeline_of(whole, last.core, options.get("task"))
    elif last.kind == OWN:
        result = last.value._with(tensors)
    else:
        module = _modules.with_tensors(last.module, tensors, options.get("dtype"), strict)
        result = _with_module(last.value, module) if last.kind == PIPELINE else module
    return result if device is None else _moved(result, device)


def _moved(result: Any, device: Any) -> Any:
    if kind_of(result) == OWN:
        if str(device) != "cpu":
            raise UsageError(
                f"device: expected 'cpu', where a mergecraft.Pipeline runs, found '{device}'"
            )
        return result
    import torch

    if _tensors.is_module(result):
        return result.to(device)
    if _tensors.is_module(getattr(result, "model", None)):
        result.model.to(device)
        result.device = torch.device(device)
    return result


def _with_module(pipeline: Any, module: Any) -> Any:
    import copy

    made = copy.copy(pipeline)
    made.model = module
    return made


def pipeline_of(tensors: StateDict, core: _core.Model, task: str | None) -> Any:
    """Returns a pipeline with the configuration and tokenizer of a model, and these tensors.

    Returns the model itself if there is no pipeline for it.
    """
    if core.config is None or core.folder is None:
        raise UnsupportedError(
            f"{core.name}: expected a folder with config.json, which makes a pipeline of the "
            "result; give out='FOLDER' to write the weights, or StateDict.from_hf to merge dicts"
        )
    if not _transformers.is_installed():
        return Pipeline._of(core, tensors)
    config = _transformers.configuration(core)
    wanted = task or _transformers.task_of(core, config)
    kind = _transformers.class_for(core, config, wanted)
    model, missing, dropped = _transformers.load(kind, config, tensors, _main_dtype(tensors))
    model.name_or_path = core.name
    if dropped:
        warn(f"{counted(dropped)} not in {kind.__name__} and left out: {shown(dropped)}")
    if missing:
        warn(f"{core.name}: {counted(missing)} in no model and random: {shown(missing)}")
    try:
        return _transformers.pipeline(model, core, wanted)
    except Exception as error:
        if task is not None:
            raise UnsupportedError(
                f"{core.name}: task '{task}': {error}; "
                "out='FOLDER' writes the merged model without loading it"
            ) from error
        warn(f"{core.name}: the result is the model, not a pipeline: {error}")
        return model


def _main_dtype(tensors: StateDict) -> Any:
    """Returns the float dtype of most bytes: the configuration may name another."""
    sizes: dict[str, int] = {}
    for name in tensors:
        dtype = tensors._dtype(name)
        if _core.is_float(dtype):
            sizes[dtype] = sizes.get(dtype, 0) + tensors[name].nbytes
    return _tensors.torch_dtype(max(sizes, key=lambda dtype: sizes[dtype], default="float32"))


# ---- StateDict.to_model --------------------------------------------------------------------------


def put_into(tensors: StateDict, model: Any, options: Mapping[str, Any]) -> Any:
    """Implements StateDict.to_model."""
    kind = kind_of(model)
    strict = bool(options.get("strict"))
    if kind == DICT:
        return _replaced(as_state_dict(model, "to_model"), tensors, "the dict", strict)
    if kind == MODULE:
        return _into_module(model, tensors, strict)
    if kind == PIPELINE:
        return _with_module(model, _into_module(model.model, tensors, strict))
    if kind == OWN:
        return model._with(_replaced(model.state_dict(), tensors, "the pipeline", strict))
    if kind != NAME:
        found = type(model).__name__
        raise ArgumentError(
            f"expected an id, a path, a module, a pipeline or a dict, found {found}"
        )
    core = open_models([os.fspath(model)], options.get("verbose"))[0]
    task = check_task(Input(model, "model", core), options.get("task"))
    whole = _replaced(StateDict._of(core.dict), tensors, core.name, strict)
    return pipeline_of(whole, core, task)


def _report(dropped: list[str], kept: list[str], model: str, strict: bool) -> None:
    """Reports names of the dict that a model lacks, and of the model that the dict lacks."""
    parts = []
    if dropped:
        parts.append(f"{counted(dropped)} not in {model} and left out: {shown(dropped)}")
    if kept:
        parts.append(f"{counted(kept)} left as in {model}: {shown(kept)}")
    if parts and strict:
        raise MismatchError(f"to_model: {'; '.join(parts)} (strict)")
    for part in parts:
        warn(f"to_model: {part}")


def _replaced(whole: StateDict, tensors: StateDict, model: str, strict: bool) -> StateDict:
    """Returns a dict with the names of `whole`, and the tensors for those that there are."""
    found = _names.match(list(whole), tensors.keys())
    if not found:
        raise MismatchError(f"{model} has none of the state dict's names")
    for name, its in found.items():
        if whole._shape(name) != tensors._shape(its):
            raise MismatchError(
                f"layer '{name}': expected shape {list(whole._shape(name))} as {model} has it, "
                f"found {list(tensors._shape(its))}"
            )
    used = set(found.values())
    dropped = [name for name in tensors if name not in used]
    _report(dropped, [name for name in whole if name not in found], model, strict)
    made = whole._picked(whole)
    for name, its in found.items():
        made[name] = dict.__getitem__(tensors, its)
    return made


def _into_module(module: Any, tensors: StateDict, strict: bool) -> Any:
    """Returns a copy of a module with the tensors of a dict, whose names may be those of a file."""
    module = _modules.unwrap(module)
    _modules.check_mergeable(module, "to_model")
    given = _as_module_names(module, tensors)
    own = _modules.tensors_of(module)
    found = _names.match([*own, *_modules.tied_names(module)], given.keys())
    if not any(name in own for name in found):
        raise MismatchError(f"{type(module).__name__} has none of the state dict's names")
    used = set(found.values())
    parameters = _modules.parameters_of(module)
    has_buffers = any(name in found for name in own if name not in parameters)
    kept = [n for n in own if n not in found and (n in parameters or has_buffers)]
    # Copies, as load_state_dict makes them: training the module must not change the state dict.
    ready = {
        name: _tensors.copy_as(given[its], given._dtype(its))
        for name, its in found.items()
        if name in own
    }
    made = _modules.with_tensors(module, ready, None)
    _report([n for n in given if n not in used], kept, type(module).__name__, strict)
    return made


def _as_module_names(module: Any, tensors: StateDict) -> StateDict:
    """Renames the entries of a dict from the names in files to those of a transformers module.

    Version 5 renames and fuses tensors when it loads: the class does so for the whole dict.
    """
    own = _modules.tensors_of(module)
    on_disk = _modules.on_disk(module, own)
    if on_disk.keys() == own.keys() or len(_names.match(list(own), tensors.keys())) == len(own):
        return tensors
    found = _names.match(list(on_disk), tensors.keys())
    if len(found) <= len(_names.match(list(own), tensors.keys())):
        return tensors
    loaded, missing, _ = _transformers.load(
        type(module),
        module.config,
        {name: tensors[its] for name, its in found.items()},
        next(iter(_modules.parameters_of(module).values())).dtype,
    )
    renamed = StateDict.from_model(loaded, buffers=True)
    for name in missing:
        renamed.pop(name, None)
    used = set(found.values())
    for name in tensors:
        if name not in used:
            renamed[name] = dict.__getitem__(tensors, name)
    return renamed


# ---- StateDict.save ------------------------------------------------------------------------------

# Files of a folder that describe or hold its own weights.
_OF_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".index.json")
_OF_MERGES = ("README.md", "mergecraft.json")


def save(tensors: StateDict, target: str, like: Any, overwrite: bool, verbose: bool | None) -> None:
    """Implements StateDict.save."""
    single = target.endswith(".safetensors")
    if single and like is not None:
        raise UsageError("save: like: expected a folder to write to, found a file")
    if single and os.path.isdir(target):
        raise ExistsError(f"{target}: expected a file, found a folder")
    if (single or like is not None) and os.path.exists(target) and not overwrite:
        raise ExistsError(f"{target}: exists already: say overwrite=True to replace it")
    with Progress("saving", verbose) as progress:
        if single:
            _save_beside(tensors, target, None, progress, "model.safetensors")
        elif like is not None:
            _save_beside(tensors, target, like, progress, "")
        else:
            tensors._core().save(target, overwrite=overwrite, progress=progress)


def _save_beside(tensors: StateDict, target: str, like: Any, progress: Any, part: str) -> None:
    """Saves to a hidden folder beside the target and renames it, or a file of it."""
    import shutil
    import tempfile

    parent = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(parent):
        raise NotFoundError(f"{parent}: expected a folder, found none")
    folder = tempfile.mkdtemp(prefix=".mergecraft-", dir=parent)
    inner, old = os.path.join(folder, "new"), os.path.join(folder, "old")
    try:
        if like is None:
            tensors._core().save(inner, shard_size=1 << 62, progress=progress)
        else:
            _save_like(tensors, like, inner, progress)
        if not part and os.path.exists(target):
            os.rename(target, old)
        os.replace(os.path.join(inner, part) if part else inner, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _save_like(tensors: StateDict, like: Any, folder: str, progress: Any) -> None:
    given = Input(like, "like", to_folder=True)
    if given.kind == DICT:
        raise UsageError("save: like: expected an id, a folder, a module or a pipeline, found dict")
    core = given.core
    if given.kind in (MODULE, PIPELINE):  # renames and fuses as save_pretrained does
        module = put_into(tensors, given.module, {})
        whole = StateDict._of(Input(module, "like", to_folder=True).core.dict)
    else:
        whole = _replaced(StateDict._of(core.dict), tensors, core.name, False)
    whole._core().save(folder, progress=progress)
    if core.config is not None:
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            file.write(core.config)
    if core.folder is not None:
        _copy_files(core.folder, folder)


def _copy_files(source: str, target: str) -> None:
    """Copies the files of a model except its weights."""
    import shutil

    for name in sorted(os.listdir(source)):
        path = os.path.join(source, name)
        of_weights = name.endswith(_OF_WEIGHTS) or name in _OF_MERGES
        if os.path.isfile(path) and not of_weights and not name.startswith("."):
            if not os.path.exists(os.path.join(target, name)):
                shutil.copyfile(path, os.path.join(target, name))


def with_tensors_of(tensors: StateDict, like: Any) -> _core.Model:
    """Returns a model with the configuration and files of `like` and the tensors of a dict."""
    given = Input(like, "like", to_folder=True)
    if given.kind == DICT:
        raise UsageError("like: expected an id, a folder, a module or a pipeline, found dict")
    whole = _replaced(StateDict._of(given.core.dict), tensors, given.name, False)
    return _core.wrap_model(given.name, whole._core(), given.core.config, given.core.folder)


def push_to_hub(tensors: StateDict, repository: str, like: Any, options: dict[str, Any]) -> str:
    """Implements StateDict.push_to_hub."""
    import tempfile

    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UnsupportedError(
            "push_to_hub needs the package huggingface_hub; save() and `mergecraft upload` do not"
        ) from None
    message = options.pop("commit_message", "Upload model")
    api = HfApi(token=options.pop("token", None))
    with tempfile.TemporaryDirectory(prefix="mergecraft-") as folder:
        inner = os.path.join(folder, "model")
        save(tensors, inner, like, False, False)
        api.create_repo(repository, exist_ok=True, **options)
        commit = api.upload_folder(repo_id=repository, folder_path=inner, commit_message=message)
    return str(getattr(commit, "commit_url", commit))
