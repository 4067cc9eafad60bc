"""The vocabulary of one model given to another."""

from __future__ import annotations

import os
from typing import Any

from . import _core
from ._inputs import Input
from ._plan import finish

__all__ = ["transplant"]


def transplant(
    model: Any,
    donor: Any,
    *,
    method: str = "omp",
    neighbours: int = 64,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    threads: int = 0,
    verbose: bool | None = None,
) -> Any:
    """Gives a model the tokenizer of a donor; rows of tokens that it lacks are approximated.

    Args:
        model, donor: ids or paths.
        method: omp, common, subword, mean or zero (docs/vocabularies.md). neighbours: tokens that
            omp approximates a row by.
        out: a folder to write to; overwrite: replace it.
        strict: treat warnings as errors. threads: worker threads; 0: all CPUs. verbose: show a
            progress bar, or none.

    Returns:
        The path `out` if it is given, else a StateDict, whose tensors are computed when they are
        read.

    Raises:
        NotFoundError, FormatError: a model. MismatchError: vocabularies without common tokens.
        UnsupportedError: a tokenizer, or LAPACK is missing. ExistsError: `out` exists.
    """
    inputs = [Input(model, "model", verbose=verbose), Input(donor, "donor", verbose=verbose)]
    plan = _core.transplant(inputs[0].core, inputs[1].core, method, neighbours, threads, strict)
    return finish(plan, out, overwrite, threads, verbose)
