"""A progress bar for long calls, if tqdm is installed."""

from __future__ import annotations

import sys
import time

from . import _core, _tensors

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_AFTER = 0.5  # seconds without a bar


def _someone_is_watching() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def open_models(names: list[str], verbose: bool | None = None) -> list[_core.Model]:
    """Opens models by name, with a progress bar for downloads."""
    with Progress("downloading", verbose) as progress:
        return _core.open_models(names, progress)


class Progress:
    """Called with (done, total); shows a bar after half a second.

    verbose: True shows one, False does not, None does on a terminal and in a notebook.
    """

    def __init__(self, what: str, verbose: bool | None, unit: str = "B") -> None:
        wanted = _someone_is_watching() if verbose is None else verbose
        self._wanted = wanted and _tensors.is_installed("tqdm")
        self._what, self._unit = what, unit
        self._start = time.monotonic()
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._wanted and self._bar is None and time.monotonic() - self._start >= _AFTER:
            import warnings

            with warnings.catch_warnings():  # that a notebook has no widgets
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]

            self._bar = tqdm(
                desc=self._what,
                total=total,
                unit=self._unit,
                unit_scale=self._unit == "B",
                leave=False,
            )
        if self._bar is not None:
            self._bar.total = total  # of downloads, it becomes known little by little
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
