"""MergeConfiguration under its module path of mergekit."""

from .._recipe import MergeConfiguration

__all__ = ["MergeConfiguration"]
