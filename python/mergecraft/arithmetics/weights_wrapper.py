"""StateDict and dict_map under their module path of mergecraft 0.x."""

from .._merge import dict_map
from .._state_dict import StateDict

__all__ = ["StateDict", "dict_map"]
