"""Merges fine-tuned models into one, without training.

    merged = mergecraft.median(['rte-1', 'rte-2', 'rte-3'], task='text-classification')

A method of your own is a function on one layer:

    @mergecraft.layer_merge
    def mine(models):
        return sum(models) / len(models)

Importing mergecraft imports neither torch nor numpy; that happens when tensors are needed.

Functions and merge methods may be called from several threads at once. An object (a StateDict, a
Pipeline, a Trial) belongs to one thread at a time. Calls into C release Python's lock.
"""

from __future__ import annotations

from . import _builtin
from ._builtin import *
from ._core import version as __version__
from ._decompress import decompress
from ._errors import (
    ArgumentError,
    CompileError,
    Error,
    ExistsError,
    FormatError,
    InputOutputError,
    MergeWarning,
    MismatchError,
    NotFoundError,
    OutOfMemoryError,
    UnsupportedError,
    UsageError,
)
from ._evaluation import Evaluation, Evaluations, McNemar, evaluate, evaluate_glue_pipeline
from ._merge import Merge, dict_map, layer_merge, model_merge
from ._methods import Method, load_methods
from ._pipeline import Pipeline
from ._report import report
from ._search import Search, Trial, search
from ._state_dict import StateDict
from ._statistics import observe
from ._transplant import transplant

TYPE_CHECKING = False  # spares the import of types at run time
if TYPE_CHECKING:
    from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """Imports modules on first use: mergecraft.mergekit.dare_ties needs no import of its own."""
    if name not in ("lora", "mergekit"):
        raise AttributeError(f"module 'mergecraft' has no attribute '{name}'")
    import importlib

    return importlib.import_module(f"mergecraft.{name}")


__all__ = [
    "ArgumentError",
    "CompileError",
    "Error",
    "Evaluation",
    "Evaluations",
    "ExistsError",
    "FormatError",
    "InputOutputError",
    "McNemar",
    "Merge",
    "MergeWarning",
    "Method",
    "MismatchError",
    "NotFoundError",
    "OutOfMemoryError",
    "Pipeline",
    "Search",
    "StateDict",
    "Trial",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "decompress",
    "dict_map",
    "evaluate",
    "evaluate_glue_pipeline",
    "layer_merge",
    "load_methods",
    "model_merge",
    "observe",
    "report",
    "search",
    "transplant",
    *_builtin.__all__,
]
