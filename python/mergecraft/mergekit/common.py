"""ModelReference and ModelPath under their module path of mergekit."""

from .._recipe_values import ModelPath, ModelReference

__all__ = [
    "ModelPath",
    "ModelReference",
]
