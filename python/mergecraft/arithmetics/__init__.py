"""StateDict and dict_map under the module path of mergecraft 0.x."""
