"""Accumulates the Fisher information while a pipeline of transformers runs."""

from __future__ import annotations

from collections.abc import Callable

from .._state_dict import StateDict
from .hessian import hess

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HessianCallback", "add_callback"]


class HessianCallback:
    """Called with a model's outputs of one example; sums up what `hess` returns."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.hessian = StateDict.zeros_like(model)
        self.num_samples = 0

    def __call__(self, outputs: Any) -> None:
        self.hessian += StateDict(hess(self.model, outputs.logits))
        self.num_samples += 1
        outputs.logits = outputs.logits.detach()  # pipelines convert logits to numpy

    def get_hessian(self) -> StateDict:
        """Returns the mean over the examples so far."""
        return self.hessian / self.num_samples


def add_callback(func: Any, callback: Callable[[Any], None]) -> Callable[..., Any]:
    """Returns the function of a bound method that calls callback(result) before it returns."""
    inner = func.__func__

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = inner(self, *args, **kwargs)
        callback(outputs)
        return outputs

    return called
