"""What functions that return a whole model do with its plan."""

from __future__ import annotations

import os
from typing import Any

from . import _core
from ._errors import warn
from ._progress import Progress
from ._state_dict import StateDict

__all__ = ["finish"]


def finish(
    plan: _core.Plan,
    out: str | os.PathLike[str] | None,
    overwrite: bool,
    threads: int,
    verbose: bool | None,
) -> Any:
    """Reports what the plan changes beside merging, and writes it to `out`, whose path it returns.

    Without `out`, returns a StateDict, whose tensors are computed when they are read.
    """
    before = plan.report
    for line in before:
        warn(line)
    if out is None:
        return StateDict._of(plan.dict)
    with Progress("writing", verbose) as progress:
        plan.run(out, threads=threads, overwrite=overwrite, progress=progress)
    for line in plan.report[len(before) :]:  # what only the values show
        warn(line)
    return os.fspath(out)
