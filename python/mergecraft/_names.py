"""Matches tensor names of one model to those of another, and orders them.

The same tensor has several names: a bare encoder has no 'bert.' before its names, older checkpoints
say gamma for weight, and torch renamed the parts of weight normalisation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ._errors import UsageError

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

_OLD = (
    (re.compile(r"(LayerNorm|layer_norm)\.gamma$"), r"\1.weight"),
    (re.compile(r"(LayerNorm|layer_norm)\.beta$"), r"\1.bias"),
    (re.compile(r"\.weight_g$"), ".parametrizations.weight.original0"),
    (re.compile(r"\.weight_v$"), ".parametrizations.weight.original1"),
)
_MOST_COMPONENTS = 2  # of a prefix: 'model.language_model.'


def canonical(name: str) -> str:
    """Returns the newer of a tensor's two names."""
    for pattern, new in _OLD:
        name = pattern.sub(new, name)
    return name


def match(wanted: Collection[str], available: Collection[str]) -> dict[str, str]:
    """Returns for each wanted name the available name of the same tensor, if there is one.

    A prefix counts if it matches more names than are equal without it.
    """
    by_canonical = {canonical(name): name for name in available}
    plain = _matched(wanted, available, by_canonical, "", "")
    prefix, added = _prefix(wanted, by_canonical)
    if not prefix:
        return plain
    add, strip = (prefix, "") if added else ("", prefix)
    moved = _matched(wanted, available, by_canonical, add, strip)
    return {**moved, **plain} if len(moved) > len(plain) else plain


def _matched(
    wanted: Iterable[str],
    available: Collection[str],
    by_canonical: Mapping[str, str],
    add: str,
    strip: str,
) -> dict[str, str]:
    found = {}
    for name in wanted:
        if not name.startswith(strip):
            continue
        moved = add + name[len(strip) :]
        other = moved if moved in available else by_canonical.get(canonical(moved))
        if other is not None:
            found[name] = other
    return found


def _prefix(wanted: Iterable[str], by_canonical: Mapping[str, str]) -> tuple[str, bool]:
    """Returns the prefix that matches most names, and whether wanted names lack it."""
    names = {canonical(name) for name in wanted}
    counts: dict[tuple[str, bool], int] = {}
    for one, other, added in ((names, by_canonical, False), (by_canonical, names, True)):
        for name in one:
            for prefix in _prefixes(name):
                if name[len(prefix) :] in other:
                    counts[prefix, added] = counts.get((prefix, added), 0) + 1
    return max(counts, key=lambda each: counts[each], default=("", False))


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    count = min(_MOST_COMPONENTS, len(parts) - 1)
    return [".".join(parts[: i + 1]) + "." for i in range(count)]


# ---- patterns ------------------------------------------------------------------------------------


def select(names: Collection[str], patterns: str | Iterable[str]) -> list[str]:
    """Returns the names that names or shell patterns give, in the order of the patterns.

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

    Files of safetensors are sorted by the alphabet and torch's are not, so that the file says
    nothing reliable about the order.
    """
    return sorted(names, key=_key)


def heads(names: Iterable[str]) -> list[str]:
    """Returns the names of a model's head: what is trained for one task only."""
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
