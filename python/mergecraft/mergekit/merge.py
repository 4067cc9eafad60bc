"""run_merge and MergeOptions under their module path of mergekit."""

from .._recipe import MergeOptions, run_merge

__all__ = ["MergeOptions", "run_merge"]
