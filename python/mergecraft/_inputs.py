"""The models of a merge as passed to the library: tensors by pointer, configuration, files."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import _core, _modules, _tensors
from ._errors import ArgumentError, UsageError, counted, shown, warn
from ._modules import DICT, MODULE, NAME, OWN, PIPELINE, kind_of
from ._progress import open_models
from ._state_dict import as_state_dict

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

# What of a pipeline is saved beside the weights.
_COMPONENTS = ("tokenizer", "feature_extractor", "image_processor", "processor")


class Input:
    """One input model of a merge.

    to_folder: it is merged into a folder, so that tensors get the names that save_pretrained writes
    and files that belong to the model are copied.
    """

    def __init__(
        self,
        value: Any,
        label: str,
        core: _core.Model | None = None,
        verbose: bool | None = None,
        to_folder: bool = False,
    ) -> None:
        self.value, self.label, self.to_folder = value, label, to_folder
        self.kind = kind_of(value) or ""
        self.tensors: dict[str, Any] = {}
        if not self.kind:
            found = type(value).__name__
            raise ArgumentError(
                f"{label}: expected an id, a path, a module, a pipeline or a dict, found {found}"
            )
        if self.kind in (MODULE, PIPELINE):
            _modules.check_mergeable(self.module, label)
            self.tensors = _modules.tensors_of(self.module)
        self._opened = core if core is not None or self.kind != NAME else self._open(verbose)

    @property
    def module(self) -> Any:
        return _modules.unwrap(self.value.model if self.kind == PIPELINE else self.value)

    def _open(self, verbose: bool | None) -> _core.Model:
        return open_models([os.fspath(self.value)], verbose)[0]

    @property
    def core(self) -> _core.Model:
        """The library's model, created on first use."""
        if self._opened is None:
            if self.kind == OWN:
                self._opened = self.value._model
            elif self.kind == DICT:
                entries = as_state_dict(self.value, self.label)._core(self.label)
                self._opened = _core.wrap_model(self.label, entries, None, None)
            else:
                self._opened = self._wrap()
        return self._opened

    def _wrap(self) -> _core.Model:
        if self.to_folder and _modules.is_sentence_transformer(self.module):
            return self._saved()
        core = _core.Dict()
        tensors: Mapping[str, Any] = self.tensors
        if self.to_folder:
            tensors = _modules.on_disk(self.module, tensors)
        for name, tensor in tensors.items():
            core.set(name, _tensors.to_source(tensor, f"{self.label}: layer '{name}'"))
        folder = self._files() if self.to_folder else None
        return _core.wrap_model(self.name, core, _modules.config_of(self.module), folder)

    def _saved(self) -> _core.Model:
        """Returns the model as saved by its own library, in a folder that is removed with it."""
        folder = self._temporary_folder()
        self.module.save(folder)
        core = open_models([folder], False)[0]
        return _core.wrap_model(self.name, core.dict, core.config, folder)

    def _temporary_folder(self) -> str:
        import shutil
        import tempfile
        import weakref

        folder = tempfile.mkdtemp(prefix="mergecraft-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    @property
    def name(self) -> str:
        """The name of the model in reports and model cards."""
        if self.kind in (NAME, OWN):
            return self.core.name
        if self.kind == DICT:
            return self.label
        given = getattr(getattr(self.module, "config", None), "_name_or_path", "")
        return given or f"{self.label} ({type(self.module).__name__})"

    def with_tensors(self, tensors: _core.Dict) -> Input:
        """Returns the library's model of this model with other tensors."""
        core = self.core
        core = _core.wrap_model(core.name, tensors, core.config, core.folder)
        return Input(self.value, self.label, core, to_folder=self.to_folder)

    def _files(self) -> str:
        """Saves the files of a model except its weights to a folder that is removed with it."""
        folder = self._temporary_folder()
        save_files(self.value, self.module, folder)
        return folder


def save_files(model: Any, module: Any, folder: str) -> None:
    """Saves tokenizer, processors, generation configuration and custom code of a model."""
    generation: Any = getattr(module, "generation_config", None)
    if generation is not None and module.can_generate():
        generation.save_pretrained(folder)
    if getattr(type(module), "_auto_class", None):  # code of the user's that config.json names
        from transformers.dynamic_module_utils import custom_object_save

        custom_object_save(module, folder, config=module.config)
    if _tensors.is_module(model):
        return
    for name in _COMPONENTS:
        component: Any = getattr(model, name, None)
        if hasattr(component, "save_pretrained"):
            component.save_pretrained(folder)


def open_inputs(models: Any, verbose: bool | None, to_folder: bool = False) -> list[Input]:
    """Returns the models of a merge, all of the kind of the last; downloads several at a time."""
    single = isinstance(models, (str, os.PathLike, Mapping)) or _tensors.is_module(models)
    if single or not hasattr(models, "__iter__"):
        found = kind_of(models) or type(models).__name__
        raise ArgumentError(f"expected a list of models, found one {found}")
    values = list(models)
    if not values:
        raise UsageError("expected models to merge, found an empty list")
    kinds = [kind_of(value) for value in values]
    for i, kind in enumerate(kinds):
        if kind is None:
            Input(values[i], f"models[{i}]")  # raises
    for i, kind in enumerate(kinds):
        if kind != kinds[-1]:
            raise ArgumentError(
                f"models[{i}] ({_shown(values[i])}): expected the last model's kind "
                f"({kinds[-1]}), found another ({kind})"
            )
    opened: list[Any] = [None] * len(values)
    if kinds[-1] == NAME:
        opened = list(open_models([os.fspath(value) for value in values], verbose))
    inputs = [
        Input(value, f"models[{i}]", core, to_folder=to_folder)
        for i, (value, core) in enumerate(zip(values, opened))
    ]
    _untie(inputs)
    if not to_folder:
        _leave_integers(inputs)
    for given in inputs:
        if len(given.core.dict) == 0:
            raise UsageError(
                f"{given.label} ({_shown(given.value)}): expected tensors, "
                "found a model without weights"
            )
    return inputs


def _untie(inputs: list[Input]) -> None:
    """Adds tied parameters under their further names where another model has them untied."""
    every = {name for given in inputs for name in given.tensors}
    for given in inputs:
        if given.tensors:
            tied = _modules.tied_names(given.module)
            given.tensors.update((name, tied[name]) for name in tied if name in every)


def _leave_integers(inputs: list[Input]) -> None:
    """Leaves out module tensors that are not floats: the copy of the last module has them.

    Warns where they differ: masks and positions are the same in all models, counters are not.
    """
    differ: dict[str, None] = {}
    for given in inputs:
        integers = [n for n, t in given.tensors.items() if not _tensors.is_float(t)]
        for name in integers:
            tensor, last = given.tensors[name], inputs[-1].tensors.get(name)
            if last is not None and not _tensors.equal(tensor, last):
                differ[name] = None
    for given in inputs:
        given.tensors = {n: t for n, t in given.tensors.items() if _tensors.is_float(t)}
    if differ:
        warn(f"{counted(differ)} not floats and copied from the last model: {shown(differ)}")


def _shown(value: Any) -> str:
    return repr(os.fspath(value)) if kind_of(value) == NAME else type(value).__name__


def find_kept(keep: Any, inputs: list[Input], models: list[Input], function: str) -> Input:
    """Returns the model that excluded tensors are taken from: by its index, or the model itself."""
    if keep is None:
        return models[-1]
    found: Input | None = None
    if hasattr(keep, "__index__"):
        found = inputs[int(keep)] if -len(inputs) <= int(keep) < len(inputs) else None
    else:
        same = [each for each in inputs if each.value is keep or _name(each.value) == _name(keep)]
        found = same[0] if same else None
    if found is None or found not in models:
        raise UsageError(f"{function}(): keep: expected one of the models, found {keep!r}")
    return found


def _name(value: Any) -> Any:
    return os.fspath(value) if kind_of(value) == NAME else id(value)


def split_base(
    inputs: list[Input],
    index: Any,
    base_model: Any,
    function: str,
    verbose: bool | None,
    to_folder: bool = False,
) -> tuple[list[Input], Input | None, int]:
    """Returns the models, the base, and the place in the list that the base had."""
    if base_model is not None:
        if index is not None:
            raise UsageError(f"{function}(): expected base_index or base_model, found both")
        base = Input(base_model, "base_model", verbose=verbose, to_folder=to_folder)
        _untie([*inputs, base])
        return inputs, base, 0
    if index is None:
        return inputs, None, 0
    count = len(inputs)
    place = int(index) if hasattr(index, "__index__") else count
    if not -count <= place < count:
        raise UsageError(
            f"{function}(): base_index: expected a whole number from {-count} to {count - 1}, "
            f"found {index!r}"
        )
    place %= count
    models = inputs[:place] + inputs[place + 1 :]
    if not models:
        raise UsageError(f"{function}(): expected models beside the base, found none")
    return models, inputs[place], place
