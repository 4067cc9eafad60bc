"""Statistics of models on data: what data-driven methods take beside the models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from . import _core, _evaluation, _hooks, _modules, _tensors, _transformers
from ._arguments import whole
from ._errors import (
    ArgumentError,
    ExistsError,
    MismatchError,
    UnsupportedError,
    UsageError,
    warn,
)
from ._inputs import Input
from ._modules import MODULE, NAME, OWN, PIPELINE, kind_of
from ._outputs import pipeline_of
from ._progress import Progress, open_models
from ._state_dict import StateDict

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any

# Side inputs that are observed on data: of each model by itself, and of all models together.
_OF_ONE = ("grams", "fishers")
_OF_ALL = ("propagated_grams", "coefficients")
OBSERVED = (*_OF_ONE, *_OF_ALL)
# Columns of texts that are recognised, in this order, and of the second texts of pairs.
_PAIRS = {
    "text": ("text_pair", "pair"),
    "sentence1": ("sentence2",),
    "premise": ("hypothesis",),
    "question1": ("question2",),
    "question": ("sentence",),
    "sentence": (),
}


class _Request:
    """What to observe, and of which examples."""

    def __init__(
        self,
        data: Any,
        grams: bool,
        fishers: bool,
        form: str = "exact",
        columns: tuple[str | None, str | None, str | None] = (None, None, None),
        split: str = "validation",
        examples: int | None = None,
        threads: int = 0,
        verbose: bool | None = None,
        strict: bool = False,
    ) -> None:
        if form not in ("exact", "empirical"):
            raise UsageError(f"form: expected 'exact' or 'empirical', found {form!r}")
        if not grams and not fishers:
            raise UsageError("observe(): expected grams or fishers to observe, found neither")
        self.data, self.grams, self.fishers = data, grams, fishers
        self.empirical = form == "empirical"
        self.columns, self.split, self.verbose = columns, split, verbose
        self.examples = None if examples is None else whole("examples", examples, 1)
        self.threads, self.strict = whole("threads", threads), strict


def observe(
    model: Any,
    data: Any,
    *,
    grams: bool = True,
    fishers: bool = True,
    form: str = "exact",
    out: str | os.PathLike[str] | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    split: str = "validation",
    examples: int | None = None,
    overwrite: bool = False,
    threads: int = 0,
    verbose: bool | None = None,
) -> str:
    """Computes statistics of a model on data and returns the path of their file.

    BERT, RoBERTa and DistilBERT for text classification run in C. Pipelines of other models, and
    modules, run in torch.

    Args:
        model: a folder, an id of the Hub, a pipeline, or a torch.nn.Module.
        data: for texts a GLUE task's name, a file, rows as dicts, a dict of columns, a
            pandas.DataFrame, or a list of texts or of pairs of texts; for other pipelines a list of
            what they are called with, such as images; for modules batches, such as those of a
            DataLoader: a tensor, (inputs, labels), or a dict of keywords of forward.
        grams: Gram matrices [in, in] of the inputs of linear layers, means over tokens without
            padding. fishers: diagonal Fisher information, in the shape of each parameter, a mean
            over examples; of classifiers, whose logits are [examples, labels].
        form: of the Fisher information: 'exact', the expectation over the model's labels, or
            'empirical', of the examples' labels.
        out: file of the statistics, required for what runs in torch; by default one in the user's
            cache, named by the contents of model and data, which is not computed again.
        text, pair, label: columns of data of your own; by default those with usual names.
        split: of a GLUE task. examples: observe the first examples only.
        overwrite: replace the file `out`. threads: worker threads; 0: all CPUs. verbose: show a
            progress bar, or none.

    Raises:
        UnsupportedError: logits of another shape. ExistsError: `out` exists.
        UsageError, NotFoundError, FormatError: the data.
    """
    path = None if out is None else _tensors.path_of(out, "out")
    if path is not None and os.path.exists(path) and not overwrite:
        raise ExistsError(f"{path}: exists already: overwrite=True replaces it")
    request = _Request(
        data, grams, fishers, form, (text, pair, label), split, examples, threads, verbose
    )
    return _observed(model, request, path)


def data_of(dataset: Any, datasets: Any, count: int) -> list[Any] | None:
    """Returns the data of each model: the same for all, or one of `datasets` each."""
    if datasets is None:
        if hasattr(dataset, "__next__"):  # every model sees all examples
            dataset = list(dataset)
        return None if dataset is None else [dataset] * count
    single = isinstance(datasets, (str, os.PathLike, Mapping)) or not hasattr(datasets, "__len__")
    if single or len(datasets) != count:
        raise UsageError(f"datasets: expected a list of {count} data sets, one per model")
    return list(datasets)


def sides_of(
    names: Sequence[str],
    models: Sequence[Input],
    base: Input | None,
    data: list[Any] | None,
    statistics: Any,
    params: list[str],
    folder: str,
    verbose: bool | None,
    strict: bool,
) -> list[tuple[str, list[_core.Model]]]:
    """Returns the side inputs of a method, from files, or by observing the models.

    params: of the method, "NAME=VALUE". folder: for files outside of the user's cache; it
    must outlive the side inputs.
    """
    if data is not None and names[0] in _OF_ALL:
        statistics = _observed_together(names[0], models, base, data, params, verbose, strict)
    elif data is not None:
        statistics = []
        for i, (model, examples) in enumerate(zip(models, data)):
            request = _Request(
                examples, "grams" in names, "fishers" in names, verbose=verbose, strict=strict
            )
            path = os.path.join(folder, f"{i}.stats")
            statistics.append(_observed(model.value, request, None, path))
    if isinstance(statistics, (str, os.PathLike)) or len(statistics) != len(models):
        raise UsageError(f"statistics: expected {len(models)} files, one per model")
    found = []
    for name in names:
        opened = open_models([os.fspath(each) for each in statistics], verbose)
        for each in opened:
            _core.take_side(each, name)
        found.append((name, opened))
    return found


# ---- all models together -------------------------------------------------------------------------


def _observed_together(
    side: str,
    models: Sequence[Input],
    base: Input | None,
    data: list[Any],
    params: list[str],
    verbose: bool | None,
    strict: bool,
) -> list[str]:
    """Returns files of propagated_grams or coefficients, which are in the user's cache."""
    results, _ = _together(side, models, base, data, params, verbose)
    for each in results:
        _report(each, None, strict)
    return [each["path"] for each in results]


def soup_of(
    models: Sequence[Input], data: list[Any], verbose: bool | None, strict: bool
) -> list[float]:
    """Returns the weights of a greedy soup: 1 for each model that it consists of, else 0."""
    results, weights = _together("weights", models, None, data, [], verbose)
    _report(results[0], None, strict)
    return weights


def _together(
    side: str,
    models: Sequence[Input],
    base: Input | None,
    data: list[Any],
    params: list[str],
    verbose: bool | None,
) -> tuple[list[Any], list[float]]:
    cores, kept, examples = [], [], []
    for model, own in zip(models, data):
        if model.kind not in (NAME, OWN, PIPELINE):
            raise ArgumentError(
                f"{model.label}: expected an id, a path or a pipeline, which has a tokenizer, "
                f"found {model.kind}"
            )
        core, files = _core_of(model.value, verbose)
        if core is None:
            raise UnsupportedError(
                f"{model.label}: expected a pipeline that computes what its class does, found one "
                "that was changed"
            )
        form = "empirical" if side == "weights" else "exact"  # a soup is scored by labels
        request = _Request(own, True, False, form, verbose=verbose)
        cores.append(core)
        kept.append(files)  # tokenizers of pipelines, until the call returns
        examples.append(_examples(request, _labels(core.config)))
    given = None if base is None else base.core
    unit = "steps" if side == "coefficients" else "tokens"
    with Progress("observing", verbose, unit) as progress:
        return _core.observe_jointly(side, cores, examples, given, params, 0, progress)


# ---- models --------------------------------------------------------------------------------------


def _observed(model: Any, r: _Request, out: str | None, of_torch: str | None = None) -> str:
    """Observes a model and returns the file: `out`, or `of_torch` if torch runs it."""
    kind = kind_of(model)
    if kind == MODULE:
        return _by_torch(None, model, r, out or of_torch)
    if kind not in (NAME, OWN, PIPELINE):
        found = kind or type(model).__name__
        raise ArgumentError(
            f"expected an id, a path, a module or a pipeline to observe, found {found}"
        )
    core, kept = _core_of(model, r.verbose)
    if core is not None and (kind == OWN or _core.can_observe(core)):
        return _in_c(core, r, out)
    if kind == NAME and not _transformers.is_installed():
        return _in_c(core, r, out)  # raises the reason
    pipeline = model if kind == PIPELINE else pipeline_of(StateDict._of(core.dict), core, None)
    if _tensors.is_module(pipeline):
        raise UnsupportedError(f"{model}: expected a model with a pipeline; observe its module")
    del kept
    return _by_torch(pipeline, pipeline.model, r, out or of_torch)


def _core_of(model: Any, verbose: bool | None) -> tuple[Any, Any]:
    """Returns the library's model, and what keeps the files of its tokenizer.

    None for pipelines that compute something other than their class does.
    """
    kind = kind_of(model)
    if kind == NAME:
        return open_models([os.fspath(model)], verbose)[0], None
    if kind == OWN:
        return model._model, None
    if _evaluation.changed(model.model) is not None:
        return None, None
    given = Input(model, "pipeline", to_folder=True)
    return given.core, given


# ---- in C ----------------------------------------------------------------------------------------


def _in_c(core: _core.Model, r: _Request, out: str | None) -> str:
    found = _examples(r, _labels(core.config))
    with Progress("observing", r.verbose, "tokens") as progress:
        result = _core.observe(
            core, found, r.grams, r.fishers, r.empirical, r.threads, out, progress
        )
    _report(result, r.examples, r.strict)
    path: str = result["path"]
    return path


def _report(result: Mapping[str, Any], asked: int | None, strict: bool) -> None:
    """Warns about what reading the examples lost or guessed; an error if strict."""
    noticed = []
    if asked is not None and result["examples"] < asked:
        noticed.append(f"examples: expected {asked}, found {result['examples']}")
    if result["truncated"]:
        noticed.append(f"{result['truncated']} of {result['examples']} examples were truncated")
    if result["guessed"]:
        noticed.append("the model's labels have no names: the order of the data's is assumed")
    if result["singular"]:
        noticed.append("fewer tokens than inputs of a layer: its Gram matrix is singular")
    for text in noticed:
        _say(text, strict)


def _say(text: str, strict: bool) -> None:
    if strict:
        raise MismatchError(f"data: {text} (strict)")
    warn(f"data: {text}")


def _labels(config: str | None) -> list[str]:
    import json

    names = json.loads(config or "{}").get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(names[key]) for key in sorted(names, key=int)]


# ---- in torch ------------------------------------------------------------------------------------


def _renamed(module: Any, grams: Mapping[str, Any]) -> dict[str, Any]:
    """Returns Gram matrices under the names that their weights have on disk.

    A weight that is stored under another name is the same tensor. One that is stored in another
    form, such as fused experts, has no Gram matrix there.
    """
    stored = _modules.on_disk(module, _modules.tensors_of(module))
    names = {tensor.data_ptr(): name for name, tensor in stored.items()}
    places = {name: tensor.data_ptr() for name, tensor in _modules.tensors_of(module).items()}
    found = {name: name if name in stored else names.get(places.get(name)) for name in grams}
    lost = [name for name, there in found.items() if there is None]
    if lost:
        warn(
            f"observe(): {len(lost)} Gram matrices are left out, as their weights are stored in "
            f"another form: {', '.join(lost[:3])}"
        )
    return {there: grams[name] for name, there in found.items() if there is not None}


def _by_torch(pipeline: Any, module: Any, r: _Request, out: str | None) -> str:
    if out is None:
        raise UsageError(
            f"observe(): out: expected a file for the statistics of a {type(module).__name__}, "
            "which runs in torch"
        )
    module = _modules.unwrap(module)
    batches = r.data if pipeline is None else _batches(pipeline, r)
    single = isinstance(batches, (str, os.PathLike, Mapping)) or _tensors.is_tensor(batches)
    if single or not hasattr(batches, "__iter__"):
        kind = type(batches).__name__
        raise ArgumentError(f"data: expected batches for a module, found {kind}")
    with Progress("observing", r.verbose, "examples") as progress:
        found = _hooks.observe(
            module, batches, r.grams, r.fishers, r.empirical, r.examples, progress
        )
    widest = max((gram.shape[0] for gram in found.grams.values()), default=0)
    _report(
        {
            "examples": found.examples,
            "truncated": 0,  # _batches reports them
            "guessed": False,  # _labelled reports it
            "singular": widest > found.tokens,
        },
        r.examples,
        r.strict,
    )
    values, weights = _core.Dict(), _core.Dict()
    found.grams = _renamed(module, found.grams)
    shared = found.shared()
    for name, tensor in found.grams.items():
        if name not in shared:
            values.set(f"grams/{name}", _tensors.to_source(tensor))
    for name, tensor in _modules.on_disk(module, found.fishers).items():
        values.set(f"fishers/{name}", _tensors.to_source(tensor.contiguous()))
    for name, tensor in _modules.on_disk(module, _modules.tensors_of(module)).items():
        weights.set(name, _tensors.to_source(tensor))
    pairs = [name for pair in shared.items() for name in pair]
    label = getattr(getattr(module, "config", None), "_name_or_path", "") or type(module).__name__
    data = os.fspath(r.data) if isinstance(r.data, (str, os.PathLike)) else None
    _core.save_statistics(
        out, values, weights, pairs, label, data, r.empirical, found.examples, found.tokens
    )
    return out


def _batches(pipeline: Any, r: _Request) -> Iterator[dict[str, Any]]:
    """Yields what a pipeline makes of each example."""
    import inspect

    forward = inspect.signature(_modules.unwrap(pipeline.model).forward).parameters
    is_text = getattr(pipeline, "tokenizer", None) is not None
    options = {"truncation": True} if is_text else {}
    truncated = examples = 0
    for item, label in _labelled(pipeline, r) if is_text else [(i, None) for i in _listed(r.data)]:
        examples += 1
        truncated += is_text and _is_too_long(pipeline.tokenizer, item)
        made = pipeline.preprocess(item, **options)
        for inputs in made if hasattr(made, "__next__") else [made]:
            batch = {n: v for n, v in inputs.items() if n in forward and _tensors.is_torch(v)}
            if r.empirical and label is not None:
                batch["labels"] = [label]
            yield batch
    if truncated:
        _say(f"{truncated} of {examples} examples were truncated", r.strict)


def _is_too_long(tokenizer: Any, item: Mapping[str, str]) -> bool:
    return len(tokenizer(**item, verbose=False)["input_ids"]) > int(tokenizer.model_max_length)


def _labelled(pipeline: Any, r: _Request) -> Iterator[tuple[dict[str, str], float | None]]:
    """Yields texts as a pipeline takes them, and their labels in the order of its logits."""
    labels = _evaluation._labels_of(pipeline)
    read = _examples(r, labels)
    mapped = [read.label(label) for label in labels]
    if sorted(mapped) != list(range(len(mapped))):
        mapped = list(range(len(mapped)))
        if r.empirical and read.label_count:
            _say("the model's labels have no names: the order of the data's is assumed", r.strict)
    for text, pair, label in read.examples():
        item = {"text": text} if pair is None else {"text": text, "text_pair": pair}
        if label != label:  # none
            yield item, None
        else:
            yield item, mapped.index(int(label)) if read.label_count else label


# ---- examples ------------------------------------------------------------------------------------


def _examples(r: _Request, labels: list[str]) -> _core.Data:
    """Returns texts or pairs of texts."""
    found = _texts(r, labels)
    if r.examples is not None:
        found.limit(r.examples)
    return found


def _texts(r: _Request, labels: list[str]) -> _core.Data:
    options = _evaluation._Options(r.split, None, "float32", 0, r.verbose)
    subject: Any = _Labels(labels)
    text, pair, label = r.columns
    if isinstance(r.data, str) and (r.data in _core.glue_tasks() or not os.path.exists(r.data)):
        return _evaluation._glue(r.data, None, options)
    if isinstance(r.data, (str, os.PathLike)):
        label = label or ("label" if r.empirical else None)
        columns = (text or "text", pair, label)
        return _evaluation._own(os.fspath(r.data), columns, subject)
    rows = _rows(r.data)
    if not rows:
        raise UsageError("data: expected at least one example to observe, found none")
    if text is None:
        text, pair = _columns(list(rows[0]))
    label = label or ("label" if r.empirical else None)
    return _evaluation._written(rows, (text, pair, label), subject)


class _Labels:
    """What reading data of one's own needs of a model."""

    def __init__(self, labels: list[str]) -> None:
        self.labels = labels


def _listed(data: Any) -> list[Any]:
    if hasattr(data, "__iter__"):
        return list(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):  # a Dataset of torch
        return [data[i] for i in range(len(data))]
    raise ArgumentError(f"data: expected examples, found {type(data).__name__}")


def _rows(data: Any) -> list[Mapping[str, Any]]:
    """Returns rows: of texts, pairs of texts, dicts, columns or a pandas.DataFrame."""
    if isinstance(data, Mapping) or hasattr(data, "columns"):
        return list(_evaluation._rows(data))
    rows: list[Mapping[str, Any]] = []
    for i, item in enumerate(_listed(data)):
        if isinstance(item, str):
            rows.append({"text": item})
        elif isinstance(item, (tuple, list)) and len(item) == 2:
            rows.append({"text": item[0], "text_pair": item[1]})
        elif isinstance(item, Mapping):
            rows.append(item)
        else:
            raise ArgumentError(
                f"data[{i}]: expected a text, a pair of texts or a dict, "
                f"found {type(item).__name__}"
            )
    return rows


def _columns(names: list[str]) -> tuple[str, str | None]:
    """Returns the columns of texts and of second texts among those of the data."""
    for text, seconds in _PAIRS.items():
        if text in names:
            found = [second for second in seconds if second in names]
            return text, found[0] if found else None
    expected = ", ".join(f"'{name}'" for name in _PAIRS)
    raise UsageError(
        f"data: text: expected the name of a column, or one of {expected}, "
        f"found {', '.join(names) or 'none'}"
    )
