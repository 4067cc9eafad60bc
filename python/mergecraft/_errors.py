"""What goes wrong, as exceptions: one family, whose members are also the built-in exceptions that Python users expect."""

from __future__ import annotations

import errno


class Error(Exception):
    """Anything that mergecraft could not do.

    Attributes:
        file: the file it is about, or None.
        tensor: the layer it is about, or None.
        offset: the byte in the file, or None.
    """

    file: str | None = None
    tensor: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UsageError(Error, ValueError):
    """A value that cannot be: a parameter out of its range, a base that is missing, an empty list."""


class ArgumentError(Error, TypeError):
    """Something of another kind than was expected: a keyword that nobody knows, models of mixed kinds, a result that is no tensor."""


class MismatchError(Error, ValueError):
    """Models that do not fit each other: shapes that differ, no name in common."""


class FormatError(Error, ValueError):
    """A file that is not what it should be."""


class UnsupportedError(Error, ValueError):
    """Something that is well-formed and not known: an architecture, a dtype, a format."""


class NotFoundError(Error, FileNotFoundError):
    """A model, file or data set that is not there."""


class ExistsError(Error, FileExistsError):
    """An output that is there already: say overwrite=True."""


class InputOutputError(Error, OSError):
    """The system refused: reading, writing, room on the disk, an input that changed, a folder that is in use."""


class OutOfMemoryError(Error, MemoryError):
    """There is not enough memory."""


class CompileError(Error):
    """A method in C that does not compile; the text is the compiler's."""


class MergeWarning(UserWarning):
    """What was noticed in a merge and not kept silent about; strict=True makes an error of it."""


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


def make(code: int, text: str, file: str, tensor: str, offset: int) -> BaseException:
    """The exception for an error of the library."""
    if code == 11:
        return KeyboardInterrupt(text)
    error = _CLASSES.get(code, Error)(text.replace("--overwrite replaces it", "overwrite=True replaces it"))
    error.file = file or None
    error.tensor = tensor or None
    error.offset = None if offset < 0 else offset
    if isinstance(error, OSError):  # has them as those of Python's own calls
        error.errno = {NotFoundError: errno.ENOENT, ExistsError: errno.EEXIST}.get(type(error), errno.EIO)
        error.filename = error.file
    return error
