"""Prints python/mergecraft/_builtin.pyi: signatures of the built-in methods for type checkers.

make_python_stubs.py > python/mergecraft/_builtin.pyi, with the package importable.
"""

import inspect

import mergecraft
from mergecraft._arguments import COMMON

TYPES = {
    "task": "str | None",
    "device": "Any",
    "verbose": "bool | None",
    "passthrough_layers": "str | Iterable[str] | None",
    "passthrough": "str | Iterable[str] | None",
    "exclude": "str | Iterable[str] | None",
    "keep": "Any",
    "then": "str | Iterable[str] | Mapping[str, Mapping[str, Any]] | None",
    "matrices": "str | Iterable[str] | None",
    "tokenizer": "str | None",
    "tokens": "str | Iterable[str] | None",
    "pad_vocab": "int",
    "chat_template": "str | None",
    "base_index": "int | None",
    "base_model": "Any",
    "out": "str | os.PathLike[str] | None",
    "dry_run": "bool",
    "dtype": "Any",
    "seed": "int",
    "strict": "bool",
    "threads": "int",
    "memory": "int",
    "shard_size": "int",
    "overwrite": "bool",
    "sync": "bool",
}


def argument(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.KEYWORD_ONLY:
        return f"{parameter.name}: {TYPES[parameter.name]} = ..."
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {parameter.annotation}{default}"


def show(name: str, method: mergecraft.Method) -> None:
    kind = "_" + "".join(part.title() for part in name.split("_"))
    print(f"\n@final\nclass {kind}(Method):\n    def __call__(\n        self,")
    parameters = inspect.signature(method).parameters.values()
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            print("        *,")
            shown.add("*")
        print(f"        {argument(parameter)},")
    shown.clear()
    print(f"    ) -> Any: ...\n\n{name}: {kind}")


shown: set[str] = set()
methods = {name: getattr(mergecraft, name) for name in mergecraft._builtin.__all__}
assert set(TYPES) == set(COMMON)
print("# Written by tools/make_python_stubs.py.\nimport os")
print("from collections.abc import Iterable, Mapping, Sequence\nfrom typing import Any, final\n")
names = ", ".join(f'"{name}"' for name in methods)
print(f"from ._methods import Method\n\n__all__ = [{names}]")
for name, method in methods.items():
    show(name, method)
