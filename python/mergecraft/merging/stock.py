"""mergecraft.stock under its module path of 0.x."""

from .._builtin import stock

__all__ = ["stock"]
