"""What users call a model: an id or a folder, a module, a pipeline, a dict. In: tensors by pointer. Out: the same kind of thing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _core, _tensors
from ._errors import ArgumentError, MismatchError, UnsupportedError, UsageError
from ._progress import open_models
from ._state_dict import StateDict, as_state_dict

TYPE_CHECKING = False  # typing is not imported when the program runs
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

NAME, MODULE, PIPELINE, DICT, OWN = "id or path", "module", "pipeline", "dict", "mergecraft.Pipeline"


def kind_of(value: Any) -> str | None:
    """What kind of model it is; None if it is none."""
    if isinstance(value, (str, os.PathLike)):
        return NAME
    if _tensors.is_module(value):
        return MODULE
    if isinstance(value, Mapping):
        return DICT
    if getattr(value, "_is_mergecraft_pipeline", False):
        return OWN
    return PIPELINE if _tensors.is_module(getattr(value, "model", None)) else None


class Input:
    """A model that was given, and what the library sees of it."""

    def __init__(self, value: Any, label: str, core: _core.Model | None = None, verbose: bool | None = None) -> None:
        self.value = value
        self.label = label
        self.kind = kind_of(value) or ""
        if not self.kind:
            raise ArgumentError(
                f"{label}: expected an id, a path, a module, a pipeline or a dict, found {type(value).__name__}"
            )
        self.core = core or self._open(verbose)

    @property
    def module(self) -> Any:
        return self.value.model if self.kind == PIPELINE else self.value

    def _open(self, verbose: bool | None) -> _core.Model:
        if self.kind == NAME:
            return open_models([os.fspath(self.value)], verbose)[0]
        if self.kind == OWN:
            return self.value._model  # type: ignore[no-any-return]
        if self.kind == DICT:
            return _core.wrap_model(self.label, as_state_dict(self.value, self.label)._core(self.label), None, None)
        return self._wrap(None)

    def _wrap(self, folder: str | None) -> _core.Model:
        core = _core.Dict()
        for name, parameter in self.module.named_parameters():
            core.set(name, _tensors.to_source(parameter, f"{self.label}: layer '{name}'"))
        return _core.wrap_model(self.name, core, config_of(self.module), folder)

    @property
    def name(self) -> str:
        """What the model is called in reports and model cards."""
        if self.kind in (NAME, OWN):
            return self.core.name
        if self.kind == DICT:
            return self.label
        given = getattr(getattr(self.module, "config", None), "_name_or_path", "")
        return given or f"{self.label} ({type(self.module).__name__})"

    def with_tokenizer(self) -> _core.Model:
        """The model with the files of its tokenizer, as a merged folder wants them."""
        tokenizer = getattr(self.value, "tokenizer", None)
        if self.kind != PIPELINE or tokenizer is None or not hasattr(tokenizer, "save_pretrained"):
            return self.core
        import shutil
        import tempfile
        import weakref

        folder = tempfile.mkdtemp(prefix="mergecraft-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        tokenizer.save_pretrained(folder)
        return self._wrap(folder)


def config_of(module: Any) -> str | None:
    """The text of config.json for a module of transformers; None for others."""
    import json

    config = getattr(module, "config", None)
    if config is None or not hasattr(config, "to_dict"):
        return None
    values = json.loads(config.to_json_string(use_diff=False))
    if not values.get("architectures"):
        values["architectures"] = [type(module).__name__]
    return json.dumps(values)


def open_inputs(models: Any, verbose: bool | None) -> list[Input]:
    """The models of a merge. All are of the kind of the last; what has to be downloaded is, side by side."""
    if isinstance(models, (str, os.PathLike, Mapping)) or not hasattr(models, "__iter__") or _tensors.is_module(models):
        raise ArgumentError(f"expected a list of models, found one {kind_of(models) or type(models).__name__}")
    values = list(models)
    if not values:
        raise UsageError("expected models to merge, found an empty list")
    kinds = [kind_of(value) for value in values]
    for i, kind in enumerate(kinds):
        if kind is None:
            Input(values[i], f"models[{i}]")  # says what is wrong
    for i, kind in enumerate(kinds):
        if kind != kinds[-1]:
            raise ArgumentError(
                f"models[{i}] ({_shown(values[i])}): expected the last model's kind ({kinds[-1]}), found another ({kind})"
            )
    opened: list[Any] = [None] * len(values)
    if kinds[-1] == NAME:
        opened = list(open_models([os.fspath(value) for value in values], verbose))
    inputs = [Input(value, f"models[{i}]", core) for i, (value, core) in enumerate(zip(values, opened))]
    for given in inputs:
        if len(given.core.dict) == 0:
            raise UsageError(f"{given.label} ({_shown(given.value)}): expected tensors, found a model without weights")
    return inputs


def _shown(value: Any) -> str:
    return repr(os.fspath(value)) if isinstance(value, (str, os.PathLike)) else type(value).__name__


# ---- out ------------------------------------------------------------------------------------------


def hand_back(tensors: StateDict, last: Input, device: Any, options: Mapping[str, Any]) -> Any:
    """What a merge gives: the same kind of thing as the last model, with these tensors.

    options: `task` for pipelines; `dtype` tells that the tensors have the dtype that was asked for; `keep` that the last model's
    tensors stay where there are none (those of a base may have other names).
    """
    if last.kind == DICT:
        return tensors if device is None else tensors.to(device)
    if last.kind == NAME:
        whole = StateDict._of(last.core.dict) | tensors if options.get("keep") else tensors
        result = pipeline_of(whole, last.core, options.get("task"))
    elif last.kind == OWN:
        result = last.value._with(tensors)
    elif last.kind == PIPELINE:
        result = _replace_in_pipeline(last.value, _with_weights(last.module, tensors, options.get("dtype")))
    else:
        result = _with_weights(last.module, tensors, options.get("dtype"))
    return result if device is None else _moved(result, device)


def _moved(result: Any, device: Any) -> Any:
    if kind_of(result) == OWN:
        if str(device) != "cpu":
            raise UsageError(f"device: expected 'cpu', where a mergecraft.Pipeline runs, found '{device}'")
        return result
    import torch

    if _tensors.is_module(result):
        return result.to(device)
    if _tensors.is_module(getattr(result, "model", None)):
        result.model.to(device)
        result.device = torch.device(device)
    return result


def _replace_in_pipeline(pipeline: Any, module: Any) -> Any:
    import copy

    made = copy.copy(pipeline)
    made.model = module
    return made


def _with_weights(module: Any, tensors: Mapping[str, Any], dtype: str | None) -> Any:
    """A copy of a module with other weights in it, which are not copied."""
    import copy

    import torch

    memo: dict[int, Any] = {}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name not in tensors:
                continue
            tensor = tensors[name]
            if tuple(tensor.shape) != tuple(parameter.shape):
                raise MismatchError(
                    f"layer '{name}': expected shape {list(parameter.shape)} as the model has it, found {list(tensor.shape)}"
                )
            tensor = tensor.to(device=parameter.device, dtype=tensor.dtype if dtype else parameter.dtype)
            memo[id(parameter)] = torch.nn.Parameter(tensor, requires_grad=parameter.requires_grad)
    if not memo:
        raise MismatchError("the model has none of the layers' names")
    return copy.deepcopy(module, memo)


def _replaced(whole: StateDict, tensors: StateDict, model: str) -> StateDict:
    """A new dict: `whole` with those of the tensors whose names it has."""
    common = [name for name in whole if name in tensors]
    if not common:
        raise MismatchError(f"{model} has none of the state dict's names")
    for name in common:
        if whole._shape(name) != tensors._shape(name):
            raise MismatchError(
                f"layer '{name}': expected shape {list(whole._shape(name))} as {model} has it, found {list(tensors._shape(name))}"
            )
    return whole | tensors.subset(common)  # type: ignore[no-any-return]


def put_into(tensors: StateDict, model: Any, options: Mapping[str, Any]) -> Any:
    """StateDict.to_model."""
    kind = kind_of(model)
    if kind == DICT:
        return _replaced(as_state_dict(model, "to_model"), tensors, "the dict")
    if kind == MODULE:
        return _with_weights(model, tensors, None)
    if kind == PIPELINE:
        return _replace_in_pipeline(model, _with_weights(model.model, tensors, None))
    if kind == OWN:
        return model._with(_replaced(model.state_dict(), tensors, "the pipeline"))
    if kind != NAME:
        raise ArgumentError(f"expected an id, a path, a module, a pipeline or a dict, found {type(model).__name__}")
    core = open_models([os.fspath(model)], options.get("verbose"))[0]
    whole = _replaced(StateDict._of(core.dict), tensors, core.name)
    return pipeline_of(whole, core, options.get("task"))


def has_transformers() -> bool:
    """Whether pipelines are those of transformers. Does not import it."""
    return _tensors.has_torch() and _tensors.is_installed("transformers")


_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForMaskedLM": "fill-mask",
    "ForPreTraining": "fill-mask",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "Model": "feature-extraction",
}


def _task_of(architecture: str | None) -> str | None:
    for ending, task in _TASKS.items():
        if architecture and architecture.endswith(ending):
            return task
    return None


def pipeline_of(tensors: StateDict, core: _core.Model, task: str | None) -> Any:
    """A pipeline with the configuration and tokenizer of a model, and these weights."""
    if core.config is None or core.folder is None:
        raise UnsupportedError(
            f"{core.name}: expected a folder with config.json, which makes a pipeline of the result; "
            "give out='FOLDER' to write the weights, or StateDict.from_hf to merge dicts"
        )
    if not has_transformers():
        from ._pipeline import Pipeline

        return Pipeline._of(core, tensors)
    task = task or _task_of(core.architecture)
    if task is None:
        raise UnsupportedError(
            f"{core.name}: expected task='text-classification' or another: its architecture, {core.architecture}, does not tell"
        )
    return _transformers_pipeline(tensors, core, task)


class _NoBars:
    """Keeps transformers from showing progress of its own."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._logging: Any = logging
        self._shown = logging.is_progress_bar_enabled()
        self._logging.disable_progress_bar()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            self._logging.enable_progress_bar()


def _transformers_pipeline(tensors: StateDict, core: _core.Model, task: str) -> Any:
    import transformers

    folder = core.folder or ""
    with _NoBars():
        config = transformers.AutoConfig.from_pretrained(folder)
        named: Any = getattr(transformers, core.architecture or "", None)
        fits = named is not None and _task_of(core.architecture) == task
        kind: Any = named if fits else _class_for(task, config)
        model = kind.from_pretrained(None, config=config, state_dict=dict(tensors), dtype=_main_dtype(tensors))
        model.name_or_path = core.name
        if model.can_generate() and os.path.isfile(os.path.join(folder, "generation_config.json")):
            model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        return transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu")  # type: ignore[call-overload]


def _main_dtype(tensors: StateDict) -> Any:
    """The float dtype that most bytes have: the configuration may say another."""
    sizes: dict[str, int] = {}
    for name in tensors:
        if _core.is_float(tensors._dtype(name)):
            sizes[tensors._dtype(name)] = sizes.get(tensors._dtype(name), 0) + tensors[name].nbytes
    return _tensors.torch_dtype(max(sizes, key=lambda dtype: sizes[dtype], default="float32"))


def _class_for(task: str, config: Any) -> Any:
    """The class for a task of the models that a configuration is for. The automatic classes want files."""
    found = _auto_class(task)._model_mapping.get(type(config), None)
    if found is None:
        raise UnsupportedError(f"task: transformers has no model for '{task}' with a {type(config).__name__}")
    return found[0] if isinstance(found, tuple) else found


def _auto_class(task: str) -> Any:
    import transformers

    for ending, of in _TASKS.items():
        if of == task and hasattr(transformers, f"AutoModel{ending}"):
            return getattr(transformers, f"AutoModel{ending}")
    if task == "feature-extraction":
        return transformers.AutoModel
    raise UsageError(f"task: expected one of {', '.join(sorted(set(_TASKS.values())))}, found '{task}'")
