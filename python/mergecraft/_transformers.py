"""transformers, from version 4.38 on: tasks, classes, pipelines. Nothing else imports it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _core, _tensors
from ._errors import UnsupportedError, UsageError

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_OUT = "out='FOLDER' writes the merged model without loading it"

# Tasks whose classes several pipelines share: the one that a model without a task is given.
_PREFERRED = (
    "text-classification",
    "token-classification",
    "text-generation",
    "image-classification",
    "fill-mask",
    "automatic-speech-recognition",
    "zero-shot-image-classification",
    "feature-extraction",
)

# What each component of a pipeline is loaded from, if the folder has it.
_COMPONENTS = {
    "tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model",
                  "sentencepiece.bpe.model", "tokenizer_config.json"),
    "feature_extractor": ("preprocessor_config.json",),
    "image_processor": ("preprocessor_config.json",),
    "processor": ("processor_config.json", "preprocessor_config.json"),
}  # fmt: skip


def is_installed() -> bool:
    """Returns whether pipelines are those of transformers. Does not import it."""
    return _tensors.has_torch() and _tensors.is_installed("transformers")


class Quiet:
    """Keeps transformers from showing progress bars of its own."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._logging: Any = logging
        self._shown = logging.is_progress_bar_enabled()
        self._logging.disable_progress_bar()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown:
            self._logging.enable_progress_bar()


# ---- tasks ---------------------------------------------------------------------------------------


def check_task(task: str) -> str:
    """Returns the name of a task that an alias such as 'ner' stands for.

    Raises:
        UsageError: this version of transformers has no pipeline for it.
    """
    import difflib

    import transformers

    registry = _registry()
    try:
        return str(registry.check_task(task)[0])
    except KeyError:
        known = [*registry.supported_tasks, *registry.task_aliases]
        near = difflib.get_close_matches(task, known, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"task: expected one of {', '.join(sorted(known))}, which transformers "
            f"{transformers.__version__} has, found '{task}'{hint}; {_OUT}"
        ) from None


def _registry() -> Any:
    from transformers.pipelines import PIPELINE_REGISTRY

    return PIPELINE_REGISTRY


def _classes_of(task: str, config: Any) -> list[Any]:
    """Returns the classes of a task's models for a configuration."""
    found: list[Any] = []
    for automatic in _registry().supported_tasks[task].get("pt", ()):
        kind = automatic._model_mapping.get(type(config), None)
        found += kind if isinstance(kind, tuple) else [kind] if kind is not None else []
    return found


def task_of(core: _core.Model, config: Any) -> str | None:
    """Returns the task of a model's architecture, None if there is no pipeline for it."""
    tasks = list(_registry().supported_tasks)
    for task in [*[t for t in _PREFERRED if t in tasks], *tasks]:
        if any(kind.__name__ == core.architecture for kind in _classes_of(task, config)):
            return str(task)
    if core.architecture and core.architecture.endswith("ForPreTraining") and "fill-mask" in tasks:
        return "fill-mask" if _classes_of("fill-mask", config) else None
    return None


# ---- models --------------------------------------------------------------------------------------


def configuration(core: _core.Model) -> Any:
    """Returns the configuration object of a model in files."""
    import transformers

    with Quiet():
        return transformers.AutoConfig.from_pretrained(core.folder or "")


def class_for(core: _core.Model, config: Any, task: str | None) -> Any:
    """Returns the class of a model: its own architecture if that fits the task.

    Raises:
        UnsupportedError: transformers has no such class.
    """
    import transformers

    named = getattr(transformers, core.architecture or "", None)
    if task is None:
        if named is not None:
            return named
        raise UnsupportedError(
            f"{core.name}: transformers {transformers.__version__} has no class "
            f"'{core.architecture}'; {_OUT}"
        )
    classes = _classes_of(task, config)
    if named is not None and named in classes:
        return named
    if not classes:
        raise UnsupportedError(
            f"task: transformers has no model for '{task}' with a {type(config).__name__}; {_OUT}"
        )
    return classes[0]


def _dtype_keyword() -> str:
    """Returns what from_pretrained calls the dtype: torch_dtype before version 4.56."""
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def load(
    kind: Any, config: Any, tensors: Mapping[str, Any], dtype: Any
) -> tuple[Any, list[str], list[str]]:
    """Returns a model of a class with these tensors, and the names of its own that they lack.

    The last list has the names of tensors that the model has no place for.

    Tensors have the names of files: the class renames and fuses them as it does for a checkpoint.
    """
    with Quiet():
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            output_loading_info=True,
            **{_dtype_keyword(): dtype},
        )
    return model, sorted(info["missing_keys"]), sorted(info["unexpected_keys"])


def module_order(core: _core.Model) -> list[str]:
    """Returns the names of a model's parameters and buffers in the module's order.

    Builds the module without memory. Empty if transformers does not know the model.
    """
    if core.folder is None or core.config is None or not is_installed():
        return []
    import torch

    try:
        config = configuration(core)
        with torch.device("meta"):
            module = class_for(core, config, None)(config)
    except Exception:  # custom code, versions: any failure means that the order is unknown
        return []
    return list(module.state_dict())


# ---- pipelines -----------------------------------------------------------------------------------


def pipeline(model: Any, core: _core.Model, task: str | None) -> Any:
    """Returns a pipeline of a model, with the tokenizer and processors of a folder.

    Returns the model itself if there is no task.
    """
    import transformers

    folder = core.folder or ""
    generation = os.path.join(folder, "generation_config.json")
    if hasattr(model, "can_generate") and model.can_generate() and os.path.isfile(generation):
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    if task is None:
        return model
    components = {
        name: folder
        for name, files in _COMPONENTS.items()
        if any(os.path.isfile(os.path.join(folder, file)) for file in files)
    }
    with Quiet():
        make: Any = transformers.pipeline
        return make(task, model=model, device="cpu", **_loaded(components))


def _loaded(components: Mapping[str, str]) -> dict[str, Any]:
    """Returns the components that this version of transformers can load from the folder."""
    import inspect

    import transformers

    automatic = {
        "tokenizer": "AutoTokenizer",
        "feature_extractor": "AutoFeatureExtractor",
        "image_processor": "AutoImageProcessor",
        "processor": "AutoProcessor",
    }
    taken = inspect.signature(transformers.pipeline).parameters  # "processor" is newer than 4.38
    found = {}
    for name, folder in components.items():
        if name not in taken:
            continue
        try:
            found[name] = getattr(transformers, automatic[name]).from_pretrained(folder)
        except Exception:  # preprocessor_config.json is that of one of three kinds
            if name == "tokenizer":
                raise
    return found
