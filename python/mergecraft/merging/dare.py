"""mergecraft.dare under its module path of 0.x."""

from .._builtin import dare

__all__ = ["dare"]
