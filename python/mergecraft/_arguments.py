"""The keywords of every merge, checked."""

from __future__ import annotations

from collections.abc import Mapping

from . import _core, _tensors
from ._errors import ArgumentError, UsageError

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

# Keywords of every merge. They reach a user's function only if it has a parameter of that name.
COMMON = (
    "task",
    "device",
    "verbose",
    "passthrough_layers",
    "passthrough",
    "exclude",
    "keep",
    "then",
    "matrices",
    "tokenizer",
    "tokens",
    "pad_vocab",
    "chat_template",
    "base_index",
    "base_model",
    "out",
    "dry_run",
    "dtype",
    "seed",
    "strict",
    "threads",
    "memory",
    "shard_size",
    "overwrite",
    "sync",
)

_LIMITS = {"threads": (0, 2**31 - 1), "memory": (0, 2**63 - 1)}


class Options:
    """The values of the common keywords of one call."""

    def __init__(self, given: Mapping[str, Any], function: str) -> None:
        self.given = dict(given)
        self.passthrough = list(
            dict.fromkeys([*patterns(given, "passthrough_layers"), *patterns(given, "passthrough")])
        )
        self.exclude = patterns(given, "exclude")
        self.matrices = patterns(given, "matrices")
        self.then, self.then_params = add_ons(given.get("then"))
        if given.get("keep") is not None and not self.exclude:
            raise UsageError(f"{function}(): keep: expected exclude=PATTERNS with it")
        self.vocabulary: dict[str, Any] = {
            "tokenizer": text(given, "tokenizer"),
            "tokens": patterns(given, "tokens"),
            "pad_vocabulary": whole("pad_vocab", given.get("pad_vocab"), 0),
            "chat_template": text(given, "chat_template"),
        }
        self.dtype = float_dtype(given["dtype"]) if given.get("dtype") is not None else None
        self.seed = whole("seed", given.get("seed"), -(2**63), 2**64 - 1) % 2**64
        self.strict = bool(given.get("strict", False))
        self.verbose = given.get("verbose")
        self.dry_run = bool(given.get("dry_run", False))
        self.out = None if given.get("out") is None else _tensors.path_of(given["out"], "out")
        self.run: dict[str, Any] = {
            name: whole(name, given[name], *limits)
            for name, limits in _LIMITS.items()
            if name in given
        }
        self.files: dict[str, Any] = {
            name: bool(given[name]) for name in ("overwrite", "sync") if given.get(name) is not None
        }
        if given.get("shard_size") is not None:
            self.files["shard_size"] = shard_bytes("shard_size", given["shard_size"])
        if self.files and self.out is None:
            name = next(iter(self.files))
            raise UsageError(f"{function}(): {name}: expected out='FOLDER' with it")
        for name in ("tokenizer", "chat_template"):
            if self.vocabulary[name] is not None and self.out is None:
                # The tokenizer is files, which only a folder has.
                raise UsageError(f"{function}(): {name}: expected out='FOLDER' with it")


def text(given: Mapping[str, Any], name: str) -> str | None:
    """Returns the text that a keyword gives, or None."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise ArgumentError(f"{name}: expected a text, found {type(value).__name__}")
    return value


def patterns(given: Mapping[str, Any], name: str) -> list[str]:
    """Returns the names or shell patterns that a keyword gives: one, several or none."""
    value = given.get(name)
    if value is None:
        return []
    found = [value] if isinstance(value, str) else list(value)
    for pattern in found:
        if not isinstance(pattern, str):
            raise ArgumentError(f"{name}: expected names of layers, found {type(pattern).__name__}")
    return found


def add_ons(value: Any) -> tuple[list[str], list[str]]:
    """Returns the names of add-ons and their parameters as "NAME.PARAMETER=VALUE".

    They are given as a name, several names, or a dict from names to parameters.
    """
    if value is None:
        return [], []
    found = {value: {}} if isinstance(value, str) else value
    found = found if isinstance(found, Mapping) else {name: {} for name in found}
    settings = [
        f"{name}.{param}={number}"
        for name, params in found.items()
        for param, number in (params or {}).items()
    ]
    return list(found), settings


def float_dtype(dtype: Any) -> str:
    """Returns torch's name of a float dtype: 'bfloat16' for 'bf16'."""
    name = _tensors.dtype_named(dtype)
    if not name or not _core.is_float(name):
        raise UsageError(f"dtype: expected one of floats, as 'f32' or 'bf16', found {dtype!r}")
    return name


def shard_bytes(name: str, value: Any) -> int:
    """Returns the largest size of a file of weights; 0 means no limit."""
    return whole(name, value, 0, 2**63 - 1) or 2**63 - 1


def whole(name: str, value: Any, least: int = 0, most: int = 2**31 - 1) -> int:
    """Returns a whole number within limits, 0 for None."""
    import operator

    try:
        number = 0 if value is None else operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name}: expected a whole number, found {value!r}") from None
    if not least <= number <= most:
        raise UsageError(f"{name}: expected a whole number from {least} to {most}, found {number}")
    return number
