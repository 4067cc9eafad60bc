"""The C library, as Python objects."""

import os
from collections.abc import Callable, Sequence
from typing import Any, final

version: str

@final
class Memory:
    @property
    def address(self) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Source:
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def is_float(self) -> bool: ...
    def load(self, dtype: str | None = None, share: bool = False) -> Memory: ...

_Progress = Callable[[int, int], object] | None

@final
class Dict:
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def items(self) -> list[tuple[str, Source]]: ...
    def set(self, name: str, source: Source, /) -> None: ...
    def materialize(
        self, threads: int = 0, memory: int = 0, progress: _Progress = None
    ) -> Dict: ...
    def save(
        self,
        folder: str,
        threads: int = 0,
        memory: int = 0,
        shard_size: int = 0,
        overwrite: bool = False,
        sync: bool = True,
        progress: _Progress = None,
    ) -> None: ...

@final
class Model:
    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> str | None: ...
    @property
    def config(self) -> str | None: ...
    @property
    def architecture(self) -> str | None: ...
    @property
    def format(self) -> str: ...
    @property
    def dict(self) -> Dict: ...

@final
class Method:
    def __init__(
        self,
        name: str,
        help: str,
        needs_base: bool,
        function: Callable[[list[Dict], Dict | None], Dict],
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def paper(self) -> str | None: ...
    @property
    def needs_base(self) -> bool: ...
    @property
    def counts(self) -> tuple[int, int]: ...
    @property
    def sides(self) -> list[str]: ...
    @property
    def params(self) -> list[dict[str, Any]]: ...

@final
class Plan:
    def __init__(
        self,
        method: Method,
        models: list[Model],
        base: Model | None,
        params: list[str],
        passthrough: list[str],
        seed: int,
        strict: bool,
        dtype: str | None,
        origin: str | None,
        text: str | None,
        exclude: list[str] = ...,
        keep: int = 0,
        sides: list[tuple[str, list[Model]]] = ...,
        then: list[str] = ...,
        matrices: list[str] = ...,
        tokenizer: str | None = None,
        tokens: list[str] = ...,
        pad_vocabulary: int = 0,
        chat_template: str | None = None,
    ) -> None: ...
    @property
    def report(self) -> list[str]: ...
    @property
    def parameters(self) -> str: ...
    @property
    def lines(self) -> list[tuple[str, str, str]]: ...
    @property
    def dict(self) -> Dict: ...
    def json(self, threads: int = 0, memory: int = 0) -> str: ...
    def materialize(
        self,
        part: Dict | None = None,
        threads: int = 0,
        memory: int = 0,
        progress: _Progress = None,
    ) -> Dict: ...
    def run(
        self,
        folder: str | os.PathLike[str],
        threads: int = 0,
        memory: int = 0,
        shard_size: int = 0,
        overwrite: bool = False,
        sync: bool = True,
        progress: _Progress = None,
    ) -> None: ...
    def bind(self, params: list[str], /) -> None: ...

@final
class Recipe:
    def __init__(self, name: str, text: str) -> None: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def models(self) -> list[str]: ...
    @property
    def stages(self) -> list[str | None]: ...
    def equals(self, other: Recipe) -> bool: ...
    def plan(
        self,
        seed: int,
        headers_only: bool,
        card: bool,
        tokenizer: bool,
        progress: _Progress = None,
    ) -> Plan: ...

class Lora:
    @property
    def name(self) -> str: ...
    @property
    def base(self) -> str | None: ...

class LoraPlan:
    @property
    def report(self) -> list[str]: ...
    @property
    def config(self) -> str: ...
    @property
    def json(self) -> str: ...
    @property
    def dict(self) -> Dict: ...
    def run(
        self,
        folder: str | os.PathLike[str],
        threads: int = 0,
        memory: int = 0,
        shard_size: int = 0,
        overwrite: bool = False,
        sync: bool = True,
        progress: _Progress = None,
    ) -> None: ...

def transplant(
    model: Model, donor: Model, method: str, neighbours: int, threads: int, strict: bool, /
) -> Plan: ...
def decompress(
    merged: Model, base: Model, task: str, threads: int, strict: bool, /
) -> Plan: ...
def task_masks_base(merged: Model, /) -> str: ...
def open_lora(path: str | os.PathLike[str], progress: _Progress = None, /) -> Lora: ...
def wrap_lora(name: str, dict: Dict, config: str, /) -> Lora: ...
def lora_apply(model: Model, loras: list[Lora], /) -> Model: ...
def lora_merge(
    method: str,
    loras: list[Lora],
    params: list[str],
    rank: int,
    energy: float,
    max_rank: int,
    exact: bool,
    seed: int,
    strict: bool,
    dtype: str | None,
    /,
) -> LoraPlan: ...
def lora_extract(
    model: Model,
    base: Model,
    save: list[str],
    exclude: list[str],
    embeddings: bool,
    rank: int,
    energy: float,
    max_rank: int,
    exact: bool,
    seed: int,
    strict: bool,
    dtype: str | None,
    /,
) -> LoraPlan: ...
def wrap(
    dtype: str, shape: Sequence[int], address: int, nbytes: int, owner: object, /
) -> Source: ...
def compute(dtype: str, shape: Sequence[int], function: Callable[[], Any], /) -> Source: ...
def open_models(
    names: list[str], progress: Callable[[int, int], object] | None = None, /
) -> list[Model]: ...
def wrap_model(name: str, dict: Dict, config: str | None, folder: str | None, /) -> Model: ...
def methods() -> list[Method]: ...
def open_plugin(path: str | os.PathLike[str], /) -> list[Method]: ...
def match_names(wanted: list[str], available: list[str], /) -> list[int]: ...
def widest(a: str, b: str, /) -> str: ...
def dtype_name(text: str, /) -> str: ...
def is_float(dtype: str, /) -> bool: ...
@final
class Data:
    @property
    def label_count(self) -> int: ...
    @property
    def labelled(self) -> bool: ...
    def examples(self) -> list[tuple[str, str | None, float]]: ...
    def score(self, predictions: list[float], /) -> dict[str, tuple[float, float]]: ...
    def label(self, name: str, /) -> int: ...
    def limit(self, count: int, /) -> None: ...

@final
class Pipeline:
    def __init__(self, model: Model, dtype: str = "float32", threads: int = 0) -> None: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def max_length(self) -> int: ...
    def logits(self, texts: list[tuple[str, str | None]], progress: _Progress = None) -> Memory: ...
    def classify(
        self, texts: list[tuple[str, str | None]], progress: _Progress = None
    ) -> Memory: ...
    def evaluate(self, data: Data, progress: _Progress = None) -> dict[str, Any]: ...
    def load(self, dict: Dict, /) -> None: ...

def glue_tasks() -> list[str]: ...
def glue_data(
    task: str, split: str, path: str | os.PathLike[str] | None = None, progress: _Progress = None, /
) -> Data: ...
def own_data(
    name: str, path: str, text: str, pair: str | None, label: str | None, labels: list[str], /
) -> Data: ...
def mcnemar(
    first: list[float], second: list[float], labels: list[float], /
) -> tuple[int, int, int, int, float]: ...
def observe(
    model: Model,
    data: Data,
    grams: bool,
    fishers: bool,
    empirical: bool,
    threads: int = 0,
    path: str | os.PathLike[str] | None = None,
    progress: _Progress = None,
) -> dict[str, Any]: ...
def observe_jointly(
    side: str,
    models: list[Model],
    data: list[Data],
    base: Model | None,
    params: list[str],
    threads: int,
    progress: Callable[[int, int], Any],
) -> tuple[list[Any], list[float]]: ...
def can_observe(model: Model, /) -> bool: ...
def take_side(model: Model, side: str, /) -> None: ...
def save_statistics(
    path: str | os.PathLike[str],
    values: Dict,
    weights: Dict,
    shared: list[str],
    model: str | None,
    data: str | None,
    empirical: bool,
    examples: int,
    tokens: int,
    /,
) -> None: ...

def report(
    folder: str | None,
    journal: str | None,
    models: list[Model],
    base: Model | None,
    note: str | None,
    threads: int,
    progress: _Progress = None,
) -> str: ...
def search(
    method: Method | None,
    models: list[Model],
    base: Model | None,
    params: list[str],
    passthrough: list[str],
    exclude: list[str],
    then: list[str],
    matrices: list[str],
    tasks: list[tuple[Data, Data | None, str, str | None, float, Model | None]],
    recipe: str | None,
    space: str | None,
    strategy: str | None,
    objective: str,
    command: str | None,
    journal: str | None,
    out: str | None,
    dtype: str | None,
    eval_dtype: str,
    seed: int,
    merge_seed: int,
    keep: int,
    trials: int,
    halving: int,
    validate: float,
    time_limit: float,
    strict: bool,
    parents: bool,
    minimize: bool,
    resume: bool,
    overwrite: bool,
    threads: int,
    progress: _Progress = None,
) -> tuple[list[str], list[str], str | None]: ...
