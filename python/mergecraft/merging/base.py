"""The decorators under their module path of mergecraft 0.x."""

from .._merge import layer_merge, model_merge

__all__ = ["layer_merge", "model_merge"]
