"""MergeOptions under its module path of mergekit."""

from .._recipe import MergeOptions

__all__ = ["MergeOptions"]
