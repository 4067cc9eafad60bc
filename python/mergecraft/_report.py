"""report(): a merge or a search as one HTML page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from . import _core, _tensors
from ._arguments import whole
from ._errors import Error, ExistsError, UsageError
from ._progress import open_models

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any


def report(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    journal: str | os.PathLike[str] | None = None,
    compare: bool = True,
    overwrite: bool = False,
    threads: int = 0,
    verbose: bool | None = None,
) -> str:
    """Writes an HTML page on a merge or a search, like the command `mergecraft report`.

        mergecraft.report('merged', 'report.html')
        mergecraft.report('best', 'report.html', journal='search.jsonl')

    The page is one file that needs no network. It describes the merge, compares its models block
    by block, and shows scores and trials.

    Args:
        source: the folder of a merged model, or the journal of a search.
        out: the page. overwrite: replace an existing file.
        journal: of the search that made the merge in `source`.
        compare: read the models for the heat maps. If they cannot be read, the page states why.
        threads: worker threads; 0: all CPUs. verbose: show a progress bar of downloads, or none.

    Returns:
        The path of the page.

    Raises:
        NotFoundError: the folder has no mergecraft.json, or the journal does not exist.
        FormatError: one of these files is malformed. ExistsError: the page exists.
    """
    path, page = _tensors.path_of(source, "source"), _tensors.path_of(out, "out")
    record = None if journal is None else _tensors.path_of(journal, "journal")
    number = whole("threads", threads)
    folder: str | None = path
    if not os.path.isdir(path):
        if record is not None:
            raise UsageError(f"journal: expected the folder of a merged model, found '{path}'")
        folder, record = None, path
    if os.path.lexists(page) and not overwrite:
        raise ExistsError(f"{page}: the file exists; use overwrite=True to replace it")
    # Reports malformed files before the models are read.
    html = _core.report(folder, record, [], None, None, number)
    if compare:
        models, base, note = _open(folder, record, verbose)
        html = _core.report(folder, record, models, base, note, number)
    _write(page, html)
    return page


def _open(
    folder: str | None, journal: str | None, verbose: bool | None
) -> tuple[list[_core.Model], _core.Model | None, str | None]:
    """Opens the models and the base of the merge or the search, or returns the reason why not."""
    record = str(journal) if folder is None else f"{folder}/mergecraft.json"
    with open(record, encoding="utf-8") as file:
        recorded = json.loads(file.readline() if folder is None else file.read())
    names = [_name(model) for model in recorded["models"]]
    base = recorded.get("base")
    if len(names) + (base is not None) < 2:
        return [], None, "there is nothing to compare the model with"
    if base is not None:
        names.append(_name(base))
    try:
        opened = open_models(names, verbose)
    except Error as error:
        return [], None, str(error)
    return (opened, None, None) if base is None else (opened[:-1], opened[-1], None)


def _name(model: Any) -> str:
    """Returns a name for open_models, from a model of mergecraft.json or of a journal."""
    if not isinstance(model, Mapping):
        return str(model)
    name = str(model["name"])
    if "repository" not in model or "commit" not in model:
        return name
    plus = name.find("+")
    return f"{model['repository']}@{model['commit']}{name[plus:] if plus >= 0 else ''}"


def _write(page: str, html: str) -> None:
    """Writes to a temporary name and renames it, so that no reader sees half a page."""
    part = f"{page}.{os.getpid()}.part"
    try:
        with open(part, "w", encoding="utf-8", newline="\n") as file:
            file.write(html)
        os.replace(part, page)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise
