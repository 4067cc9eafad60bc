"""The methods and decorators under their module paths of mergecraft 0.x."""
