"""Diagonal Fisher information under the module paths of mergecraft 0.x."""
