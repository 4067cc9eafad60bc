"""mergecraft.soup under its module path of 0.x."""

from .._builtin import soup

__all__ = ["soup"]
