"""The library's methods under their names. What type checkers see of them, _builtin.pyi, is written by tools/make_python_stubs.py."""

from ._methods import all_methods

_found = all_methods()
globals().update(_found)
__all__ = list(_found)
