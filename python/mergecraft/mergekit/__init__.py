"""mergekit's methods as functions, and its Python interface for recipes.

    from mergecraft.mergekit import MergeConfiguration, MergeOptions, run_merge

    config = MergeConfiguration.model_validate({"merge_method": "linear", "models": [...], ...})
    run_merge(config, "merged", MergeOptions())

    merged = dare_ties(models, base_model=base, density=.5)     # names and parameters of recipes
"""

from .._methods import methods_of
from .._recipe import MergeConfiguration, MergeOptions, run_merge

_found = methods_of("mergekit")
globals().update(_found)
__all__ = ["MergeConfiguration", "MergeOptions", "run_merge", *_found]
