"""mergecraft.task under its module path of 0.x."""

from .._builtin import task

__all__ = ["task"]
