"""evaluate_glue_pipeline under its module path of mergecraft 0.x."""

from ._evaluation import evaluate_glue_pipeline

__all__ = ["evaluate_glue_pipeline"]
