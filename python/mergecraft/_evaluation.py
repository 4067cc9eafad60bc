"""evaluate_glue_pipeline: the metrics of a model on a GLUE task."""

from __future__ import annotations

import os

from . import _core, _tensors
from ._arguments import whole
from ._errors import ArgumentError, UnsupportedError, UsageError
from ._inputs import Input
from ._modules import NAME, OWN, PIPELINE, kind_of
from ._pipeline import precision as _precision
from ._progress import Progress, open_models

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any


def evaluate_glue_pipeline(
    pipeline: Any,
    dataset_name: str,
    split: str = "validation",
    *,
    dtype: Any = "f32",
    data: str | os.PathLike[str] | None = None,
    threads: int = 0,
    verbose: bool | None = None,
) -> dict[str, float]:
    """The metrics of a model on a GLUE task.

    Args:
        pipeline: a pipeline of transformers, a mergecraft.Pipeline, a folder, or an id of the Hub.
            It runs in C if the architecture is supported, on the pipeline's own weights; otherwise
            the pipeline is called.
        dataset_name: 'rte', 'mrpc', 'sst2', 'cola', 'stsb', 'qqp', 'mnli', 'qnli', 'wnli', ….
        split: 'validation', 'train', …
        dtype: what matrix products are computed in: 'f32', 'bf16' or 'int8'.
        data: a file or folder with the examples; otherwise the Hub's cache, the folder MERGECRAFT_DATA, or the Hub.

    Returns:
        The task's own metrics, as Python's `evaluate` calls them: ``{'accuracy': …}``; mrpc and qqp also ``'f1'``, cola
        ``'matthews_correlation'``, stsb ``'pearson'`` and ``'spearmanr'``. Texts that are too long for the model are truncated.

    Raises:
        UsageError (a ValueError): no such task, or a split without labels. NotFoundError: no data, or no such model.
    """
    import difflib

    names = _core.glue_tasks()
    if not isinstance(dataset_name, str) or not isinstance(split, str):
        raise ArgumentError(
            f"expected the names of a task and a split, found {dataset_name!r} and {split!r}"
        )
    place = None if data is None else _tensors.path_of(data, "data")
    threads = whole("threads", threads)
    try:
        with Progress("downloading", verbose) as progress:
            glue = _core.Glue(dataset_name, split, place, progress)
    except KeyError:
        near = difflib.get_close_matches(str(dataset_name), names, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"dataset_name: expected one of {', '.join(names)}, found {dataset_name!r}{hint}"
        ) from None
    if not glue.labelled:
        raise UsageError(f"{dataset_name}: the split '{split}' has no labels to compare with")
    precision = _precision(dtype)
    with Progress(dataset_name, verbose, "examples") as progress:
        kind = kind_of(pipeline)
        if kind == NAME:
            return _core.Pipeline(
                open_models([os.fspath(pipeline)], verbose)[0], precision, threads
            ).evaluate(glue, progress)
        if kind == OWN:
            same = pipeline._dtype == precision and pipeline._threads == threads
            core = pipeline._runner if same else _core.Pipeline(pipeline._model, precision, threads)
            return core.evaluate(glue, progress)
        if kind == PIPELINE:
            return _evaluate_pipeline(pipeline, glue, precision, threads, progress)
    raise ArgumentError(
        "expected a pipeline (a model with its tokenizer), a folder or an id, "
        f"found {kind if kind else type(pipeline).__name__}"
    )


def _evaluate_pipeline(
    pipeline: Any, glue: _core.Glue, precision: str, threads: int, progress: Progress
) -> dict[str, float]:
    given = Input(pipeline, "pipeline", to_folder=True)
    try:
        core = _core.Pipeline(given.core, precision, threads)
    except UnsupportedError:
        if precision != "float32":
            raise
        return _by_calls(pipeline, glue, progress)
    return core.evaluate(glue, progress)


def _by_calls(pipeline: Any, glue: _core.Glue, progress: Progress) -> dict[str, float]:
    """The same where the library does not know the architecture: the pipeline is called, example by example."""
    examples = glue.examples()
    labels = [
        str(pipeline.model.config.id2label[i]) for i in range(pipeline.model.config.num_labels)
    ]
    mapped = [glue.label(label) for label in labels]
    if sorted(mapped) != list(range(len(mapped))):
        mapped = list(range(len(labels)))
    predictions = []
    for done, (text, pair, _) in enumerate(examples):
        given = {"text": text, "text_pair": pair} if pair is not None else {"text": text}
        options = {"truncation": True} | ({} if glue.label_count else {"function_to_apply": "none"})
        found = pipeline(given, **options)
        best = found[0] if isinstance(found, list) else found
        predictions.append(
            float(mapped[labels.index(best["label"])]) if glue.label_count else float(best["score"])
        )
        progress(done + 1, len(examples))
    return glue.score(predictions)
