"""Searches: Trial, an objective for Optuna and other optimisers, and search()."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence

from . import _core, _tensors
from ._arguments import COMMON, Options, whole
from ._errors import ArgumentError, UsageError, warn
from ._evaluation import Evaluation, _glue, _Options
from ._inputs import Input, find_kept, open_inputs, split_base
from ._methods import Method, methods_of
from ._pipeline import precision
from ._progress import Progress

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any


class _Setup:
    """A method, its models and the keywords of a merge, as the library takes them."""

    def __init__(
        self, method: Any, models: Any, base_model: Any, given: Mapping[str, Any], name: str
    ) -> None:
        self.method = method if isinstance(method, Method) else _method(method, name)
        common = {key: value for key, value in given.items() if key in COMMON}
        own = {key: value for key, value in given.items() if key not in COMMON}
        self.options = Options({**common, "base_model": base_model}, name)
        index = own.pop("base_index", common.get("base_index"))
        inputs = open_inputs(models, self.options.verbose, True)
        if index is None and base_model is None and self.method._core.needs_base:
            index = 0
        self.models, self.base, _ = split_base(
            inputs, index, base_model, name, self.options.verbose, True
        )
        last = self.models[-1]
        if self.options.exclude:
            last = find_kept(common.get("keep"), inputs, self.models, name)
        self.last = last
        self.keep = self.models.index(last) + 1 if self.options.exclude else 0
        self.params = [*self.method._texts(self.method._own((), own)), *self.options.then_params]

    def plan(self, params: list[str]) -> _core.Plan:
        options = self.options
        return _core.Plan(
            method=self.method._core,
            models=[each.core for each in self.models],
            base=self.base.core if self.base else None,
            params=params,
            passthrough=options.passthrough,
            seed=options.seed,
            strict=options.strict,
            dtype=options.dtype,
            origin=None,
            text=None,
            exclude=options.exclude,
            keep=self.keep,
            then=options.then,
            matrices=options.matrices,
        )


def _method(name: Any, function: str) -> Method:
    """Returns a built-in method by its name, 'ties' or 'mergekit:ties'."""
    import difflib

    if not isinstance(name, str):
        raise ArgumentError(f"{function}(): expected a built-in method or its name, found {name!r}")
    family, _, own = name.rpartition(":")
    found = methods_of(family or "mergecraft")
    if own in found:
        return found[own]
    near = difflib.get_close_matches(own, found, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UsageError(f"{function}(): there is no method '{name}'{hint}")


class Trial:
    """Scores merges in memory, for Optuna and other optimisers.

        trial = mergecraft.Trial('ties', models, eval='rte', base_model=base)

        def objective(t):
            return trial(k=t.suggest_float('k', 0.05, 0.5), scale=t.suggest_float('scale', 0.3, 2))

        study = optuna.create_study(direction='maximize')
        study.optimize(objective, n_trials=50)

    Models stay open, parameters are bound to the same plan, and weights are loaded into the same
    encoder. A trial belongs to one thread at a time.

    Args:
        method: a built-in method, or its name.
        models: ids or paths, as for merges; base_model: their common ancestor.
        eval: a GLUE task. data: a file or folder with its examples; split: which of them.
        metric: of the task, by default the first; or 'loss', which is to be minimised.
        limit: use the first examples only.
        eval_dtype: of matrix products: 'f32', 'bf16' or 'int8'.
        threads: worker threads; 0: all CPUs.
        Others: fixed parameters of the method, and keywords of every merge, such as passthrough.

    Raises:
        UsageError: a parameter, a task, a metric. UnsupportedError: the architecture.
    """

    def __init__(
        self,
        method: Any,
        models: Any,
        *,
        eval: str,
        base_model: Any = None,
        data: str | os.PathLike[str] | None = None,
        split: str = "validation",
        metric: str | None = None,
        limit: int | None = None,
        eval_dtype: Any = "f32",
        threads: int = 0,
        **params: Any,
    ) -> None:
        self._setup = _Setup(method, models, base_model, params, "Trial")
        verbose = self._setup.options.verbose
        number = whole("threads", threads)
        self._options = _Options(split, limit, precision(eval_dtype), number, verbose)
        path = None if data is None else _tensors.path_of(data, "data")
        self._data = _glue(eval, path, self._options)
        if not self._data.labelled:
            raise UsageError(f"{eval}: the split '{split}' has no labels to compare with")
        if self._options.limit is not None:
            self._data.limit(self._options.limit)
        self._labels = [label for _, _, label in self._data.examples()]
        self._metric = metric
        self._plan: _core.Plan | None = None
        self._pipeline = _core.Pipeline(self._setup.last.core, self._options.dtype, number)

    def evaluate(self, **params: Any) -> Evaluation:
        """Merges with these parameters and returns the Evaluation."""
        method = self._setup.method
        texts = [*self._setup.params, *method._texts(method._own((), params))]
        reported = 0
        if self._plan is None:
            self._plan = self._setup.plan(texts)
        else:
            reported = len(self._plan.report)
            self._plan.bind(texts)
        self._pipeline.load(self._plan.materialize(threads=self._options.threads))
        for line in self._plan.report[reported:]:
            warn(line)
        with Progress("evaluating", self._options.verbose, "tokens") as progress:
            found = self._pipeline.evaluate(self._data, progress)
        return Evaluation(found, self._labels, len(self._pipeline.labels))

    def __call__(self, **params: Any) -> float:
        """Merges with these parameters and returns the score."""
        found = self.evaluate(**params)
        if self._metric == "loss":
            return found.loss
        name = self._metric if self._metric is not None else next(iter(found))
        if name not in found:
            raise UsageError(f"metric: expected one of {', '.join(found)} or loss, found {name!r}")
        return found[name]

    def objective(self, **space: Any) -> Callable[[Any], float]:
        """Returns a function for Optuna's study.optimize.

        A dimension is (low, high), with ints for whole numbers; (low, high, 'log'); or a list of
        choices: ``trial.objective(k=(0.05, 0.5), trim=['layer', 'model'])``.
        """
        for name, values in space.items():
            _dimension(name, values)

        def scored(trial: Any) -> float:
            return self(**{name: _suggest(trial, name, space[name]) for name in space})

        return scored

    def __repr__(self) -> str:
        return f"<trial of {self._setup.method.__name__}, {len(self._labels)} examples>"


def _suggest(trial: Any, name: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high, log = values[0], values[1], len(values) > 2
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def _dimension(name: str, values: Any) -> str:
    """Returns 'NAME=VALUES' for a range or choices."""
    if isinstance(values, str):
        return f"{name}={values}"
    if isinstance(values, list) and values:
        return f"{name}={'|'.join(str(each) for each in values)}"
    ranged = isinstance(values, tuple) and len(values) in (2, 3)
    if not ranged or (len(values) == 3 and values[2] != "log"):
        raise ArgumentError(
            f"space: {name}: expected (low, high), (low, high, 'log') or a list of choices, "
            f"found {values!r}"
        )
    whole_numbers = all(isinstance(each, int) for each in values[:2])
    words = ["int"] * whole_numbers + list(values[2:])
    return f"{name}={':'.join([str(values[0]), str(values[1]), *words])}"


class Search(list[dict[str, "Any"]]):
    """The trials of a search, one dict each: pandas.DataFrame(search) has a row per trial.

    A dict has the trial's number as 'trial', its parameters, 'score' (None if it failed), its
    'seconds', a score per task and metric ('rte.accuracy'), 'error' and 'stopped'.

    Attributes:
        best: the dict of the best trial.
        parameters: of the best trial.
        held_out: its scores on the examples that were held out, 'rte.accuracy': (value, standard
            error). These are the scores to report.
        parents: the scores of single models, if they were asked for.
        recipe: the text of the best recipe; None if a method was searched.
        header: the first line of the journal.
    """

    def __init__(self, lines: Sequence[str], recipe: str | None = None) -> None:
        parsed = [json.loads(line) for line in lines]
        super().__init__(_row(line) for line in parsed if line["type"] == "trial")
        self.header: dict[str, Any] = parsed[0]
        self.recipe = recipe
        result = parsed[-1]
        self.best: dict[str, Any] = self[result["trial"] - 1]
        self.parameters: dict[str, Any] = result["parameters"]
        self.held_out = _scores(result["held_out"])
        self.parents = {
            line["model"]: _scores(line["scores"]) for line in parsed if line["type"] == "parent"
        }

    def plot(self) -> Any:
        """Draws the best score so far and the scores per parameter; needs matplotlib.

        Returns:
            The figure.
        """
        try:
            from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise ImportError("Search.plot() needs matplotlib: pip install matplotlib") from None
        names = [each["name"] for each in self.header["space"]]
        scored = [row for row in self if row["score"] is not None]
        figure, axes = pyplot.subplots(
            1, len(names) + 1, figsize=(3.5 * (len(names) + 1), 3), squeeze=False
        )
        minimize = self.header["direction"] == "minimize"
        best: list[float] = []
        for row in scored:
            better = min if minimize else max
            best.append(better([row["score"], *best[-1:]]))
        axes[0][0].plot([row["trial"] for row in scored], best)
        axes[0][0].set(xlabel="trial", ylabel="best score")
        for axis, name in zip(axes[0][1:], names):
            axis.scatter([row[name] for row in scored], [row["score"] for row in scored], s=12)
            axis.set(xlabel=name, ylabel="score")
        figure.tight_layout()
        return figure

    def __repr__(self) -> str:
        return f"<search of {len(self)} trials, best {self.best['score']:.6g}: {self.parameters}>"


def _scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    return {f"{s['task']}.{s['metric']}": (s["value"], s["standard_error"]) for s in scores}


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: value for name, (value, _) in _scores(line["scores"]).items()}
    rest = {"error": line.get("error"), "stopped": line.get("stopped", False)}
    return {
        "trial": line["trial"],
        **line["parameters"],
        "score": line["score"],
        **values,
        "seconds": line["seconds"],
        **rest,
    }


def search(
    method: Any,
    models: Any = None,
    space: str | Mapping[str, Any] | None = None,
    *,
    eval: Any = None,
    base_model: Any = None,
    strategy: str = "random",
    trials: int | None = None,
    seed: int = 0,
    objective: str = "mean",
    validate: Any = 0.0,
    halving: int = 0,
    parents: bool = False,
    command: str | None = None,
    time_limit: float = 0.0,
    minimize: bool = False,
    data: Any = None,
    heads: Mapping[str, Any] | None = None,
    split: str = "validation",
    limit: int | None = None,
    eval_dtype: Any = "f32",
    journal: str | os.PathLike[str] | None = None,
    resume: bool = False,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    threads: int = 0,
    merge_seed: int = 0,
    verbose: bool | None = None,
    **params: Any,
) -> Search:
    """Searches for the parameters of the best merge, as the command `mergecraft search`.

    Args:
        method: a built-in method, its name, or the path of a recipe with ${NAME=VALUES}.
        models: ids or paths; None for a recipe. base_model: their common ancestor.
        space: a text such as 'k=.05:.5, scale=.3:2', or a dict: {'k': (0.05, 0.5), 'trim':
            ['layer', 'model'], 'rate': (1e-4, 1e-1, 'log')}.
        eval: a GLUE task, several, or a dict from tasks to weights; 'rte:loss' chooses a metric.
        data: a file or folder with the examples, or a dict of them by task.
        heads: {'rte': model}: score a task with the head, labels and tokenizer of its own model.
            Leave heads of different shapes out of the merge with exclude.
        strategy: random, grid, coordinate, greedy, nelder-mead, bobyqa, crs or esch.
        trials: by default 20, or all points of a grid. seed: of the strategy.
        objective: mean, min, relative or worst-relative.
        validate: share of the examples that is held out for the best merge, or a file or folder
            with other examples.
        halving: steps in which a trial is scored; poor trials stop early.
        parents: score single models, too.
        command: scores merges instead of eval; {} stands for the folder of the merged model.
            minimize: lower scores are better. time_limit: stop after so many seconds.
        split: of the examples; limit: use the first ones only. eval_dtype: of matrix products:
            'f32', 'bf16' or 'int8'.
        journal: a file that records the trials; resume=True continues it.
        out: a folder for the best merge; overwrite: replace it.
        threads: worker threads; 0: all CPUs. merge_seed: of methods that draw random numbers.
            verbose: show a progress bar, or none.
        Others: fixed parameters of the method, and keywords of every merge.

    Returns:
        A Search: a list of dicts, one per trial.
    """
    number = whole("threads", threads)
    options = _Options(split, limit, precision(eval_dtype), number, verbose)
    held_out = None
    if isinstance(validate, (str, os.PathLike)):
        held_out = _tensors.path_of(validate, "validate")
    recipe = models is None
    if isinstance(space, Mapping):
        space = ", ".join(_dimension(name, values) for name, values in space.items())
    setup = None if recipe else _Setup(method, models, base_model, params, "search")
    if recipe and params:
        raise UsageError(f"search(): {next(iter(params))}: write it in the recipe")
    merge = None if setup is None else setup.options
    with Progress("trials", verbose, "trial") as progress:
        lines, warnings, text = _core.search(
            None if setup is None else setup.method._core,
            [] if setup is None else [each.core for each in setup.models],
            setup.base.core if setup is not None and setup.base else None,
            [] if setup is None else setup.params,
            [] if merge is None else merge.passthrough,
            [] if merge is None else merge.exclude,
            [] if merge is None else merge.then,
            [] if merge is None else merge.matrices,
            _tasks(eval, data, held_out, heads, options),
            _tensors.path_of(method, "recipe") if recipe else None,
            space,
            strategy,
            objective,
            command,
            None if journal is None else _tensors.path_of(journal, "journal"),
            None if out is None else _tensors.path_of(out, "out"),
            None if merge is None else merge.dtype,
            options.dtype,
            whole("seed", seed, 0, 2**63 - 1),
            whole("merge_seed", merge_seed, 0, 2**64 - 1),
            0 if setup is None else setup.keep,
            whole("trials", trials),
            whole("halving", halving),
            0.0 if held_out is not None else float(validate),
            float(time_limit),
            bool(merge and merge.strict),
            bool(parents),
            bool(minimize),
            bool(resume),
            bool(overwrite),
            number,
            progress,
        )
    for line in warnings:
        warn(line)
    return Search(lines, text)


_Task = tuple[
    _core.Data, "_core.Data | None", str, "str | None", float, "_core.Model | None"
]


def _tasks(
    eval: Any,
    data: Any,
    held_out: str | None,
    heads: Mapping[str, Any] | None,
    options: _Options,
) -> list[_Task]:
    if eval is None:
        eval = []
    if isinstance(eval, str):
        eval = [eval]
    weights = eval if isinstance(eval, Mapping) else dict.fromkeys(eval, 1.0)
    names = [text.partition(":")[0] for text in weights]
    for task in heads or {}:
        if task not in names:
            raise UsageError(f"heads: expected one of the tasks of eval, found '{task}'")
    opened = {
        task: Input(model, f"heads['{task}']", verbose=options.verbose)
        for task, model in (heads or {}).items()
    }
    found: list[_Task] = []
    for (text, weight), task in zip(weights.items(), names):
        metric = text.partition(":")[2]
        path = data.get(task) if isinstance(data, Mapping) else data
        examples = _glue(task, None if path is None else _tensors.path_of(path, "data"), options)
        if options.limit is not None:
            examples.limit(options.limit)
        rest = None if held_out is None else _glue(task, held_out, options)
        head = opened[task].core if task in opened else None
        found.append((examples, rest, options.split, metric or None, float(weight), head))
    return found
