"""The models of single tasks, from a merge with emr."""

from __future__ import annotations

import os
from typing import Any

from . import _core
from ._inputs import Input
from ._plan import finish

__all__ = ["decompress"]


def decompress(
    merged: str | os.PathLike[str],
    task: int | str,
    *,
    base_model: Any = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int = 0,
    verbose: bool | None = None,
) -> Any:
    """Rebuilds the model of one task from a folder that a merge with emr wrote.

    Args:
        merged: the folder of the merge, with its task_masks.safetensors.
        task: a number from 1, or the name of the model that was merged.
        base_model: the base of the merge; None: the one that the merge recorded.
        out: a folder to write to; overwrite: replace it.
        strict: treat warnings as errors. threads: worker threads; 0: all CPUs. verbose: show a
            progress bar, or none.

    Returns:
        The path `out` if it is given, else a StateDict, whose tensors are computed when they are
        read.

    Raises:
        NotFoundError: a model or its masks do not exist. UsageError: there is no such task.
        MismatchError: the base is not that of the merge. ExistsError: `out` exists.
    """
    model = Input(merged, "merged", verbose=verbose)
    named = _core.task_masks_base(model.core) if base_model is None else base_model
    start = Input(named, "base", verbose=verbose)
    plan = _core.decompress(model.core, start.core, str(task), threads, strict)
    return finish(plan, out, overwrite, threads, verbose)
