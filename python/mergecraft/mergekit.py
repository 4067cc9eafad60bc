"""The methods of the family mergekit, whose names and parameters are those of its recipes."""

from ._methods import methods_of

_found = methods_of("mergekit")
globals().update(_found)
__all__ = list(_found)
