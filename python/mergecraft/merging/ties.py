"""mergecraft.ties under its module path of 0.x."""

from .._builtin import ties

__all__ = ["ties"]
