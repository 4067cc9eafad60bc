"""The classes of configurations under their module path of mergekit."""

from .._recipe import MergeConfiguration
from .._recipe_values import (
    ConditionalParameter,
    InputModelDefinition,
    InputSliceDefinition,
    OutputModuleDefinition,
    OutputSliceDefinition,
)

__all__ = [
    "ConditionalParameter",
    "InputModelDefinition",
    "InputSliceDefinition",
    "OutputModuleDefinition",
    "OutputSliceDefinition",
    "MergeConfiguration",
]
