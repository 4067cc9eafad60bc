"""Evaluation: metrics of a model on GLUE and on your own data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from . import _core, _names, _tensors
from ._arguments import whole
from ._errors import ArgumentError, UnsupportedError, UsageError
from ._inputs import Input
from ._modules import DICT, MODULE, NAME, OWN, PIPELINE, is_pruning, kind_of, unwrap
from ._outputs import with_tensors_of
from ._pipeline import precision
from ._progress import Progress, open_models
from ._state_dict import StateDict, as_state_dict

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

    import numpy


class McNemar:
    """McNemar's exact test of whether two models err equally often on the same examples.

    Attributes:
        both, first_only, second_only, neither: numbers of examples that these models get right.
        p_value: two-sided.
    """

    def __init__(self, counts: tuple[int, int, int, int, float]) -> None:
        self.both, self.first_only, self.second_only, self.neither, self.p_value = counts

    def __repr__(self) -> str:
        return (
            f"McNemar(both={self.both}, first_only={self.first_only}, "
            f"second_only={self.second_only}, neither={self.neither}, p_value={self.p_value:.4g})"
        )


class Evaluation(Mapping[str, float]):
    """The metrics of a model, as a mapping; {'accuracy': 0.73}.

    Attributes:
        errors: the standard error of each metric.
        loss, loss_error: mean cross-entropy in nats (mean squared error of a regression).
        predictions: label numbers of the task, or values of a regression, one per example.
        scores: [examples][labels], as the pipeline returns them, in the model's order of labels.
        labels: the correct labels; NaN where there is none.
        truncated: examples longer than the model reads. guessed: whether the model's label names
            do not tell the task's, so that they were taken in order.
    """

    def __init__(self, found: Mapping[str, Any], labels: list[float], columns: int) -> None:
        self._metrics = {name: value for name, (value, _) in found["metrics"].items()}
        self.errors = {name: error for name, (_, error) in found["metrics"].items()}
        losses: list[tuple[float, float]] = [*found["loss"].values(), (float("nan"),) * 2]
        self.loss, self.loss_error = losses[0]
        self.predictions: list[float] = found["predictions"]
        self.labels = labels
        self.truncated: int = found["truncated"]
        self.guessed: bool = found["guessed"]
        self._scores, self._columns = found["scores"], columns

    @property
    def scores(self) -> numpy.ndarray[Any, Any]:
        """The logits of the examples: float32, [examples][labels]."""
        import numpy

        if isinstance(self._scores, numpy.ndarray):
            return self._scores
        return numpy.frombuffer(memoryview(self._scores), numpy.float32).reshape(-1, self._columns)

    def __getitem__(self, name: str) -> float:
        value: float = self._metrics[name]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def compare(self, other: Evaluation) -> McNemar:
        """Returns McNemar's test of this model and `other` on the same examples.

        Raises:
            UsageError: the examples are not the same.
        """
        if len(self.labels) != len(other.labels) or not all(
            a == b or (a != a and b != b) for a, b in zip(self.labels, other.labels)
        ):
            raise UsageError("compare: expected evaluations on the same examples")
        return McNemar(_core.mcnemar(self.predictions, other.predictions, self.labels))

    def __repr__(self) -> str:
        parts = [f"{name}={value:.4f}±{self.errors[name]:.4f}" for name, value in self.items()]
        return f"Evaluation({', '.join(parts)}, loss={self.loss:.4f}, n={len(self.labels)})"

    def _repr_html_(self) -> str:
        rows = [(name, value, self.errors[name]) for name, value in self.items()]
        rows.append(("loss", self.loss, self.loss_error))
        cells = "".join(
            f"<tr><td>{n}</td><td>{v:.4f}</td><td>{e:.4f}</td></tr>" for n, v, e in rows
        )
        return (
            f"<table><caption>{len(self.labels)} examples</caption><tr><th>metric</th>"
            f"<th>value</th><th>standard error</th></tr>{cells}</table>"
        )


class Evaluations(dict[str, Evaluation]):
    """Evaluations by task: what evaluate() returns for several tasks.

    Attributes:
        parents: those of the models as they are, if an encoder was given.
    """

    parents: dict[str, Evaluation] | None = None

    def _main(self, task: str) -> float:
        return next(iter(self[task].values()))

    @property
    def average(self) -> float:
        """The mean over the tasks of their first metrics."""
        return sum(self._main(task) for task in self) / len(self)

    @property
    def relative(self) -> dict[str, float]:
        """Each task's first metric divided by its parent's; the mean as 'average'."""
        if self.parents is None:
            raise UsageError("relative: expected evaluations of an encoder, found none")
        found = {}
        for task in self:
            parent = next(iter(self.parents[task].values()))
            found[task] = self._main(task) / parent if parent else float("nan")
        return {**found, "average": sum(found.values()) / len(found)}

    def _rows(self) -> list[list[str]]:
        rows = []
        for task, each in self.items():
            row = [task, next(iter(each)), f"{self._main(task):.4f}", f"{each.loss:.4f}"]
            if self.parents is not None:
                parent = next(iter(self.parents[task].values()))
                row += [f"{parent:.4f}", f"{self.relative[task]:.1%}"]
            rows.append(row)
        last = ["average", "", f"{self.average:.4f}", ""]
        if self.parents is not None:
            last += ["", f"{self.relative['average']:.1%}"]
        return [*rows, last]

    def _head(self) -> list[str]:
        more = ["parent", "relative"] if self.parents is not None else []
        return ["task", "metric", "value", "loss", *more]

    def __repr__(self) -> str:
        table = [self._head(), *self._rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in table)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in self._head())
        rows = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in self._rows()
        )
        return f"<table><tr>{head}</tr>{rows}</table>"


# ---- what users call -----------------------------------------------------------------------------


def evaluate_glue_pipeline(
    pipeline: Any,
    dataset_name: str,
    split: str = "validation",
    *,
    like: Any = None,
    dtype: Any = "f32",
    data: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    threads: int = 0,
    verbose: bool | None = None,
) -> dict[str, float]:
    """Returns the metrics of a model on a GLUE task.

    Args:
        pipeline: a pipeline of transformers, a mergecraft.Pipeline, a folder, or an id of the Hub;
            with `like` also a module or a dict. It runs in C if the architecture is supported, on
            the pipeline's own weights. Otherwise the pipeline is called, also if the model computes
            something other than its class does (hooks, torch.compile, adapters, pruning).
        dataset_name: 'rte', 'mrpc', 'sst2', 'cola', 'stsb', 'qqp', 'mnli', 'qnli', 'wnli', ….
        split: 'validation', 'train', ….
        like: a model whose configuration and tokenizer are used for a module or a dict.
        dtype: of matrix products: 'f32', 'bf16' or 'int8'.
        data: a file or folder with the examples; by default the Hub's cache, the folder
            MERGECRAFT_DATA, or the Hub.
        limit: evaluate the first examples only.
        threads: worker threads; 0: all CPUs. verbose: show a progress bar, or none.

    Returns:
        The task's metrics under the names of Python's `evaluate`: ``{'accuracy': …}``; mrpc and qqp
        also ``'f1'``, cola ``'matthews_correlation'``, stsb ``'pearson'`` and ``'spearmanr'``.
        Texts that are too long for the model are truncated.

    Raises:
        UsageError (a ValueError): no such task, or a split without labels.
        NotFoundError: no data, or no such model.
    """
    if not isinstance(dataset_name, str) or not isinstance(split, str):
        raise ArgumentError(
            f"expected the names of a task and a split, found {dataset_name!r} and {split!r}"
        )
    found = evaluate(
        pipeline,
        dataset_name,
        split=split,
        like=like,
        dtype=dtype,
        path=data,
        limit=limit,
        threads=threads,
        verbose=verbose,
    )
    return dict(found)


def evaluate(
    model: Any,
    data: Any = None,
    *,
    encoder: Any = None,
    heads: str | list[str] | None = None,
    like: Any = None,
    split: str = "validation",
    path: str | os.PathLike[str] | None = None,
    text: str = "text",
    pair: str | None = None,
    label: str = "label",
    limit: int | None = None,
    dtype: Any = "f32",
    threads: int = 0,
    verbose: bool | None = None,
) -> Any:
    """Evaluates a model on a task, or models on several.

    Args:
        model: as for evaluate_glue_pipeline; or a dict of them by GLUE task, which returns
            Evaluations: ``evaluate({'rte': a, 'mrpc': b}, encoder=merged)``.
        data: a GLUE task's name; a file (CSV, TSV, JSON lines, Parquet); a list of dicts, a dict of
            columns, or a pandas.DataFrame. For several tasks a dict of paths, or None.
        encoder: a model or state dict whose tensors replace those of each model, except its heads.
        heads: shell patterns of the tensors that stay each model's own; by default classifiers.
        path: a file or folder with a GLUE task's examples.
        text, pair, label: columns of your own data. A label is a label's name or number.
        like, split, limit, dtype, threads, verbose: as for evaluate_glue_pipeline.

    Returns:
        An Evaluation: a mapping of metrics with standard errors, loss and predictions.

    Raises:
        UsageError, NotFoundError, FormatError: the data. UnsupportedError: the model.
    """
    options = _Options(split, limit, precision(dtype), whole("threads", threads), verbose)
    columns = (text, pair, label)
    if isinstance(model, Mapping) and model and all(kind_of(each) for each in model.values()):
        return _several(model, data, encoder, heads, options)
    if data is None:
        raise ArgumentError("evaluate() misses the argument 'data'")
    subject = _subject(model, like, options)
    if encoder is not None:
        subject = subject.with_encoder(as_state_dict(encoder, "encoder"), heads)
    return subject.evaluate(_data(data, path, columns, subject, options), options)


class _Options:
    def __init__(
        self, split: str, limit: int | None, dtype: str, threads: int, verbose: bool | None
    ) -> None:
        self.split, self.dtype, self.threads, self.verbose = split, dtype, threads, verbose
        self.limit = None if limit is None else whole("limit", limit, 1)


def _several(
    models: Mapping[str, Any], paths: Any, encoder: Any, heads: Any, options: _Options
) -> Evaluations:
    """Evaluates one model per task; with an encoder also each model with the encoder's tensors."""
    shared = None if encoder is None else as_state_dict(encoder, "encoder")
    found, parents = Evaluations(), {}
    for task, model in models.items():
        subject = _subject(model, None, options)
        place = paths.get(task) if isinstance(paths, Mapping) else paths
        data = _data(task, place, ("text", None, "label"), subject, options)
        own = subject.evaluate(data, options)
        if shared is None:
            found[task] = own
            continue
        parents[task] = own
        found[task] = subject.with_encoder(shared, heads).evaluate(data, options)
    if shared is not None:
        found.parents = parents
    return found


# ---- data ----------------------------------------------------------------------------------------


def _data(
    data: Any,
    path: Any,
    columns: tuple[str, str | None, str],
    subject: _Subject,
    options: _Options,
) -> _core.Data:
    """Returns examples of a GLUE task, of a file, or of Python values."""
    is_task = isinstance(data, str) and (data in _core.glue_tasks() or not os.path.exists(data))
    if is_task:
        found = _glue(data, None if path is None else _tensors.path_of(path, "data"), options)
    elif isinstance(data, (str, os.PathLike)):
        found = _own(os.fspath(data), columns, subject)
    else:
        found = _written(data, columns, subject)
    if not found.labelled:
        name = data if isinstance(data, str) else "data"
        raise UsageError(f"{name}: the split '{options.split}' has no labels to compare with")
    if options.limit is not None:
        found.limit(options.limit)
    return found


def _glue(task: str, path: str | None, options: _Options) -> _core.Data:
    import difflib

    if not isinstance(options.split, str):
        raise ArgumentError(f"split: expected the name of a split, found {options.split!r}")
    try:
        with Progress("downloading", options.verbose) as progress:
            return _core.glue_data(task, options.split, path, progress)
    except KeyError:
        names = _core.glue_tasks()
        near = difflib.get_close_matches(task, names, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"dataset_name: expected one of {', '.join(names)}, or a file, found {task!r}{hint}"
        ) from None


def _own(path: str, columns: tuple[str, str | None, str | None], subject: Any) -> _core.Data:
    text, pair, label = columns
    return _core.own_data(os.path.basename(path), path, text, pair, label, subject.labels)


def _written(data: Any, columns: tuple[str, str | None, str | None], subject: Any) -> _core.Data:
    """Writes rows as JSON lines, which the library reads with all its checks."""
    import json
    import tempfile

    wanted = [column for column in columns if column is not None]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for row in _rows(data):
            kept = {column: _plain(row[column]) for column in wanted if column in row}
            file.write(json.dumps(kept, allow_nan=False) + "\n")
        file.flush()
        return _own(file.name, columns, subject)


def _rows(data: Any) -> Iterator[Mapping[str, Any]]:
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas
        data = data.to_dict("records")
    if isinstance(data, Mapping):
        columns = {name: list(values) for name, values in data.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise UsageError(f"data: expected columns of one length, found {lengths}")
        data = [dict(zip(columns, values)) for values in zip(*columns.values())]
    if not hasattr(data, "__iter__"):
        raise ArgumentError(
            f"data: expected a task, a file, rows or columns, found {type(data).__name__}"
        )
    for i, row in enumerate(data):
        if not isinstance(row, Mapping):
            raise ArgumentError(f"data[{i}]: expected a dict, found {type(row).__name__}")
        yield row


def _plain(value: Any) -> Any:
    """Returns a value that JSON can hold: numpy scalars as Python numbers, NaN as null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value


# ---- models --------------------------------------------------------------------------------------


class _Subject:
    """The model to evaluate: one of the library, or a pipeline to call."""

    def __init__(
        self, core: _core.Model | None, runner: _core.Pipeline | None, pipeline: Any
    ) -> None:
        self.core, self.runner, self.pipeline = core, runner, pipeline

    @property
    def labels(self) -> list[str]:
        return self.runner.labels if self.runner is not None else _labels_of(self.pipeline)

    def evaluate(self, data: _core.Data, options: _Options) -> Evaluation:
        labels = [label for _, _, label in data.examples()]
        unit = "examples" if self.runner is None else "tokens"
        with Progress("evaluating", options.verbose, unit) as progress:
            if self.runner is not None:
                found = self.runner.evaluate(data, progress)
            else:
                found = _by_calls(self.pipeline, data, progress)
        return Evaluation(found, labels, len(self.labels))

    def with_encoder(self, encoder: StateDict, heads: Any) -> _Subject:
        """Returns the same model with the tensors of an encoder, except its heads."""
        if self.core is None or self.runner is None:
            raise UnsupportedError("encoder: expected models whose architecture runs in C")
        own = StateDict._of(self.core.dict)
        mine = _names.select(own.keys(), heads) if heads is not None else _names.heads(own)
        found = _names.match([name for name in own if name not in mine], encoder.keys())
        if not found:
            raise UsageError("encoder: it has none of the model's names")
        for name, its in found.items():
            if own._shape(name) != encoder._shape(its):
                raise UsageError(
                    f"encoder: layer '{name}': expected shape {list(own._shape(name))}, "
                    f"found {list(encoder._shape(its))}"
                )
            own[name] = dict.__getitem__(encoder, its)
        core = _core.wrap_model(self.core.name, own._core(), self.core.config, self.core.folder)
        self.runner.load(core.dict)
        return _Subject(core, self.runner, None)


def _subject(model: Any, like: Any, options: _Options) -> _Subject:
    kind = kind_of(model)
    if kind == NAME:
        core = open_models([os.fspath(model)], options.verbose)[0]
        return _Subject(core, _core.Pipeline(core, options.dtype, options.threads), None)
    if kind == OWN:
        same = model._dtype == options.dtype and model._threads == options.threads
        runner = model._runner if same else None
        runner = runner or _core.Pipeline(model._model, options.dtype, options.threads)
        return _Subject(model._model, runner, None)
    if kind == PIPELINE:
        return _of_pipeline(model, options)
    if kind in (MODULE, DICT) and like is not None:
        return _of_tensors(model, like, options)
    if kind in (MODULE, DICT):
        raise ArgumentError(
            f"expected a pipeline (a model with its tokenizer), a folder or an id, found {kind}: "
            "give like= a model with the tokenizer"
        )
    raise ArgumentError(
        "expected a pipeline (a model with its tokenizer), a folder or an id, "
        f"found {type(model).__name__}"
    )


def _of_tensors(model: Any, like: Any, options: _Options) -> _Subject:
    """Returns a module or a dict with the configuration and tokenizer of another model."""
    if kind_of(model) == MODULE and changed(model) is not None:
        if kind_of(like) != PIPELINE:
            raise UnsupportedError(f"like: expected a pipeline for a module with {changed(model)}")
        import copy

        pipeline = copy.copy(like)
        pipeline.model = model
        return _of_pipeline(pipeline, options)
    core = with_tensors_of(as_state_dict(model, "model"), like)
    return _Subject(core, _core.Pipeline(core, options.dtype, options.threads), None)


def _of_pipeline(pipeline: Any, options: _Options) -> _Subject:
    reason = changed(pipeline.model) or _own_length(pipeline)
    if reason is not None:
        _note(f"the pipeline is called, since it has {reason}")
        return _Subject(None, None, pipeline)
    given = Input(pipeline, "pipeline", to_folder=True)
    try:
        runner = _core.Pipeline(given.core, options.dtype, options.threads)
    except UnsupportedError:
        if options.dtype != "float32":
            raise
        return _Subject(None, None, pipeline)
    return _Subject(given.core, runner, None)


def _note(text: str) -> None:
    import warnings

    warnings.warn(f"evaluation: {text}", stacklevel=5)


def changed(module: Any) -> str | None:
    """Returns why a module may compute something other than its class does with its weights."""
    if unwrap(module) is not module:
        return f"a wrapper ({type(module).__name__})"
    for name, part in module.named_modules():
        where = f" in '{name}'" if name else ""
        kind = type(part)
        if any(is_pruning(hook) for hook in part._forward_pre_hooks.values()):
            return f"pruned weights{where}"
        if part._forward_hooks or part._forward_pre_hooks:
            return f"forward hooks{where}"
        if "forward" in vars(part):
            return f"its own forward{where}"
        known = kind.__module__.startswith(("transformers.", "torch.nn.modules."))
        if not known:
            return f"a {kind.__module__}.{kind.__qualname__}{where}"
    return None


def _own_length(pipeline: Any) -> str | None:
    """Returns whether a pipeline was made with its own max_length."""
    given = getattr(pipeline, "_preprocess_params", {})
    return "its own max_length" if "max_length" in given else None


# ---- calls of pipelines --------------------------------------------------------------------------


def _labels_of(pipeline: Any) -> list[str]:
    config = unwrap(pipeline.model).config
    return [str(config.id2label[i]) for i in range(config.num_labels)]


def _by_calls(pipeline: Any, data: _core.Data, progress: Any) -> dict[str, Any]:
    """Evaluates by calling a pipeline, example by example."""
    import numpy

    examples, labels = data.examples(), _labels_of(pipeline)
    mapped = [data.label(label) for label in labels]
    guessed = sorted(mapped) != list(range(len(mapped)))
    if guessed:
        mapped = list(range(len(labels)))
    logits = numpy.zeros((len(examples), len(labels)), numpy.float32)
    for done, (text, pair, _) in enumerate(examples):
        given = {"text": text, "text_pair": pair} if pair is not None else {"text": text}
        found = pipeline(given, truncation=True, top_k=None, function_to_apply="none")
        for each in found[0] if isinstance(found[0], list) else found:
            logits[done, labels.index(each["label"])] = each["score"]
        progress(done + 1, len(examples))
    predictions = [
        float(mapped[int(row.argmax())]) if data.label_count else float(row[0]) for row in logits
    ]
    columns = [mapped.index(int(label)) if label == label else -1 for _, _, label in examples]
    return {
        "metrics": data.score(predictions),
        "loss": _loss(logits, columns) if data.label_count else {},
        "predictions": predictions,
        "scores": _softmax(logits) if data.label_count else logits,
        "guessed": guessed,
        "truncated": 0,
    }


def _softmax(logits: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    import numpy

    powers = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    shares: numpy.ndarray[Any, Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _loss(logits: numpy.ndarray[Any, Any], columns: list[int]) -> dict[str, tuple[float, float]]:
    """Returns mean cross-entropy and its standard error; column −1 is an example without label."""
    import numpy

    shares = _softmax(logits.astype(numpy.float64))
    losses = [-numpy.log(shares[i, c]) for i, c in enumerate(columns) if c >= 0]
    error = numpy.std(losses, ddof=1) / len(losses) ** 0.5 if len(losses) > 1 else float("nan")
    return {"cross_entropy": (float(numpy.mean(losses)), float(error))}
