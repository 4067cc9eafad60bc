"""mergecraft.slerp under its module path of 0.x."""

from .._builtin import slerp

__all__ = ["slerp"]
