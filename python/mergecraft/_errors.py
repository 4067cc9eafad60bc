"""Exceptions and warnings. Each exception is also the built-in one that Python users expect."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Collection, Iterable


class Error(Exception):
    """The base class of mergecraft's exceptions.

    Attributes:
        file: the file concerned, or None.
        tensor: the layer concerned, or None.
        offset: the offset in the file in bytes, or None.
    """

    file: str | None = None
    tensor: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UsageError(Error, ValueError):
    """An invalid value: a parameter out of range, a missing base, an empty list."""


class ArgumentError(Error, TypeError):
    """A value of the wrong type, or an unknown keyword."""


class MismatchError(Error, ValueError):
    """Models that do not match: shapes that differ, no common name."""


class FormatError(Error, ValueError):
    """A malformed file."""


class UnsupportedError(Error, ValueError):
    """A well-formed but unsupported architecture, dtype or format."""


class NotFoundError(Error, FileNotFoundError):
    """A model, file or data set that does not exist."""


class ExistsError(Error, FileExistsError):
    """An output that already exists; overwrite=True replaces it."""


class InputOutputError(Error, OSError):
    """A read or write that failed, a full disk, an input that changed, a folder in use."""


class OutOfMemoryError(Error, MemoryError):
    """Not enough memory."""


class CompileError(Error):
    """A method in C that does not compile, with the text of the compiler."""


class MergeWarning(UserWarning):
    """Tensors that a merge dropped, averaged, copied or guessed; strict=True makes it an error."""


# By the numbers of mc_status.
_CLASSES: dict[int, type[Error]] = {
    1: OutOfMemoryError,
    2: InputOutputError,
    3: NotFoundError,
    4: FormatError,
    5: UnsupportedError,
    6: MismatchError,
    7: UsageError,
    8: ExistsError,
    9: InputOutputError,
    10: InputOutputError,
    12: CompileError,
    13: InputOutputError,
}
_INTERRUPTED = 11


# By the numbers of mc_hint: what a caller can do, in terms of the functions' arguments.
_HINTS: dict[int, str] = {
    1: "pass it as base=",
    2: "pass it as a further argument of the method",
    3: "overwrite=True replaces it",
    4: "the same call resumes",
    6: "tokenizer='union' merges them token by token, with out='FOLDER'",
}


def make(code: int, text: str, file: str, tensor: str, offset: int, hint: int) -> BaseException:
    """Returns the exception for an error of the library."""
    if code == _INTERRUPTED:
        return KeyboardInterrupt(text)
    if hint in _HINTS:
        text = f"{text} ({_HINTS[hint]})"
    error = _CLASSES.get(code, Error)(text)
    error.file = file or None
    error.tensor = tensor or None
    error.offset = None if offset < 0 else offset
    if isinstance(error, OSError):  # errno and filename as Python's own calls set them
        numbers = {NotFoundError: errno.ENOENT, ExistsError: errno.EEXIST}
        error.errno = numbers.get(type(error), errno.EIO)
        error.filename = error.file
    return error


def warn(text: str) -> None:
    """Issues a MergeWarning at the line that called the package."""
    here = os.path.dirname(__file__)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == here:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, MergeWarning, stacklevel=level)


def shown(names: Iterable[str]) -> str:
    """Returns the first three names for a message: 'a, b, c, …'."""
    items = list(names)
    return ", ".join(items[:3]) + (", …" if len(items) > 3 else "")


def counted(names: Collection[str]) -> str:
    """Returns the subject of a sentence: '1 tensor is', '3 tensors are'."""
    return "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"


def unknown_keyword(function: str, name: str, known: Iterable[str]) -> ArgumentError:
    """Returns the error for a keyword the function does not take, with the closest known one."""
    import difflib

    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower), 1, 0.5)
    hint = f"; did you mean '{by_lower[near[0]]}'?" if near else ""
    return ArgumentError(f"{function}() got an unexpected keyword argument '{name}'{hint}")
