"""The methods of the family mergecraft. tools/make_python_stubs.py writes _builtin.pyi."""

from ._methods import methods_of

_found = methods_of("mergecraft")
globals().update(_found)
__all__ = list(_found)
