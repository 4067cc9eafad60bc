"""Matches tensor names of one model to those of another, and orders them.

The same tensor has several names: a bare encoder has no 'bert.' before its names, older checkpoints
say gamma for weight, and torch renamed the parts of weight normalisation. The library knows them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from . import _core
from ._errors import UsageError

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any


def match(wanted: Collection[str], available: Collection[str]) -> dict[str, str]:
    """Returns for each wanted name the available name of the same tensor, if there is one."""
    mine, theirs = list(wanted), list(available)
    partners = _core.match_names(mine, theirs)
    return {name: theirs[at] for name, at in zip(mine, partners) if at >= 0}


# ---- patterns ------------------------------------------------------------------------------------


def select(names: Collection[str], patterns: str | Iterable[str]) -> list[str]:
    """Returns the names that match names or shell patterns, in the order of the patterns.

    Raises:
        KeyError: a name or pattern matches nothing.
    """
    import fnmatch

    found: dict[str, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if not isinstance(pattern, str):
            raise UsageError(f"expected names of layers, found {pattern!r}")
        fitting = [pattern] if pattern in names else fnmatch.filter(names, pattern)
        if not fitting:
            raise KeyError(f"the state dict has no '{pattern}'")
        found.update(dict.fromkeys(fitting))
    return list(found)


# ---- order ---------------------------------------------------------------------------------------

_EMBEDDING = re.compile(r"embed|\b(wte|wpe|shared)\b")
_HEAD = re.compile(r"^(cls|classifier|lm_head|score|qa_outputs|pre_classifier|vocab_\w+|head)\b")
_NUMBER = re.compile(r"(\d+)")


def in_order(names: Iterable[str]) -> list[str]:
    """Sorts names as modules usually have them: embeddings, blocks by number, the rest, the head.

    safetensors files are sorted alphabetically and torch files are not, so the order in the file
    is not reliable.
    """
    return sorted(names, key=_key)


def heads(names: Iterable[str]) -> list[str]:
    """Returns the tensor names of a model's head, which is trained for one task only."""
    return [name for name in names if _HEAD.search(name)]


def _key(name: str) -> tuple[Any, ...]:
    natural = [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(name)]
    if _EMBEDDING.search(name):
        rank = 0
    elif any(part.isdigit() for part in name.split(".")):
        rank = 1
    else:
        rank = 3 if _HEAD.search(name) else 2
    return (rank, natural)
