"""mergecraft.fisher under its module path of 0.x."""

from .._builtin import fisher

__all__ = ["fisher"]
