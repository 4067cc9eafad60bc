"""Recipes in Python: the classes and the function that mergekit's callers use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from . import _core, _tensors
from ._arguments import shard_bytes, whole
from ._errors import ArgumentError, UsageError, unknown_keyword, warn
from ._progress import Progress
from ._recipe_values import ModelReference, dumped, references, typed

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

_NAME = "recipe.yml"  # of a configuration in errors
# Keys of a recipe: those that are not given are None, as in mergekit.
_KEYS = ("merge_method", "models", "slices", "modules", "base_model", "dtype", "out_dtype",
         "parameters", "tokenizer_source", "tokenizer", "chat_template")


class MergeConfiguration:
    """A recipe as mergekit's configuration: its keys are attributes.

    Made from keywords, by model_validate(dict) or from_yaml(text). Checked when it is made; models
    are opened by run_merge. Parts are dicts that have attributes, such as `models[0].parameters`,
    and models are texts that have them, such as `base_model.model.path`. Changes of attributes and
    parts apply to the merge.

    Raises:
        FormatError (a ValueError): not a recipe. UnsupportedError: an unknown method.
    """

    _fields: dict[str, Any]
    _text: str  # of a recipe that was read; "": none
    _as_read: str  # what its keys are as YAML; "": they were not needed yet

    def __init__(self, /, **fields: Any) -> None:
        given = {name: typed(name, value) for name, value in fields.items() if value is not None}
        vars(self).update(_fields=given, _text="", _as_read="")
        self._parse()

    @classmethod
    def model_validate(cls, obj: Any) -> MergeConfiguration:
        """Returns the configuration of a dict `obj`; a configuration stays as it is.

        Raises:
            UsageError (a ValueError): not a dict with strings as keys.
        """
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping):
            raise UsageError(f"expected a dict, found {type(obj).__name__}")
        for key in obj:
            if not isinstance(key, str):
                raise UsageError(f"expected strings as keys, found {key!r}")
        return cls(**obj)

    @classmethod
    def from_yaml(cls, text: str) -> MergeConfiguration:
        """Returns the configuration of a recipe's text, which may have several documents.

        Attributes need PyYAML and a text of one document.
        """
        if not isinstance(text, str):
            raise ArgumentError(f"expected a text, found {type(text).__name__}")
        made = cls.__new__(cls)
        vars(made).update(_fields={}, _text=text, _as_read="")
        made._parse()
        return made

    def _parse(self) -> _core.Recipe:
        return _core.Recipe(_NAME, self.to_yaml())

    def _read(self) -> dict[str, Any]:
        """Returns the keys; those of a text are read when they are first needed."""
        if self._text and not self._as_read:
            if not _tensors.is_installed("yaml"):
                raise AttributeError("the attributes of a recipe's text need PyYAML")
            import yaml  # type: ignore[import-untyped, unused-ignore]

            documents = list(yaml.safe_load_all(self._text))
            if len(documents) != 1:
                raise AttributeError("a recipe of several documents has no attributes")
            fields = {n: typed(n, v) for n, v in documents[0].items() if v is not None}
            vars(self).update(_fields=fields, _as_read=_yaml(fields))
        return self._fields

    def to_yaml(self) -> str:
        """Returns the recipe's text, which is written to mergekit_config.yml."""
        if self._text and not self._as_read:
            return self._text
        made = _yaml(self._fields)
        return self._text if made == self._as_read else made

    def model_dump(
        self,
        *,
        exclude_none: bool = False,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Returns plain dicts, lists and values; keys that are not given are None.

        exclude_none, exclude_unset, exclude_defaults: without keys that are not given. pydantic's
        other options have no effect.
        """
        made: dict[str, Any] = dumped(
            self._read(), exclude_none or exclude_unset or exclude_defaults
        )
        if not (exclude_none or exclude_unset or exclude_defaults):
            made = {**dict.fromkeys(_KEYS), **made}
        return made

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> MergeConfiguration:
        """Returns a copy with the values of the dict `update`; it is always a deep one."""
        import copy

        made = _configuration(copy.deepcopy(self._fields), self._text, self._as_read)
        for name, value in (update or {}).items():
            setattr(made, name, value)
        return made

    def referenced_models(self) -> list[ModelReference]:
        """Returns the models that the recipe names, each once."""
        known = references(self._fields)
        names = self._parse().models
        return [known.get(name) or ModelReference.model_validate(name) for name in names]

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            fields = self._read()
            if name in fields or name in _KEYS:
                return fields.get(name)
        raise AttributeError(f"the configuration has no '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _KEYS:
            raise AttributeError(f"the configuration has no '{name}'")
        self._read().pop(name, None)
        if value is not None:
            self._fields[name] = typed(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MergeConfiguration) and self._parse().equals(other._parse())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return _configuration, (self._fields, self._text, self._as_read)

    def __repr__(self) -> str:
        return f"<MergeConfiguration of {len(self.referenced_models())} models>"


def _configuration(fields: dict[str, Any], text: str, as_read: str) -> MergeConfiguration:
    made = MergeConfiguration.__new__(MergeConfiguration)
    vars(made).update(_fields=fields, _text=text, _as_read=as_read)
    return made


class MergeOptions:
    """mergekit's options; those about GPUs, adapters' caches and laziness have no effect here.

    Attributes:
        copy_tokenizer, write_model_card: what is written beside the weights.
        out_shard_size: bytes of the largest file of weights; 0: no limit.
        random_seed: of random methods. num_threads: worker threads; None: all CPUs.
        transformers_cache: folder for downloads.
        quiet: show no progress.
        lora_merge_cache, lora_merge_dtype, device, allow_crimes, cuda, low_cpu_memory,
            clone_tensors, trust_remote_code, lazy_unpickle, verbosity, read_to_gpu, multi_gpu,
            gpu_rich, async_write, write_threads: accepted and ignored.

    Values are converted as by mergekit: "no" is False, "5" is 5.

    Raises:
        UsageError (a ValueError): a value of the wrong type, safe_serialization=False or
            unsafe_truncate_embeddings=True.
    """

    allow_crimes: bool = False
    unsafe_truncate_embeddings: bool = False
    transformers_cache: str | None = None
    lora_merge_cache: str | None = None
    lora_merge_dtype: str | None = None
    cuda: bool = False
    device: str | None = None
    low_cpu_memory: bool = False
    out_shard_size: int = 5_000_000_000
    copy_tokenizer: bool = True
    clone_tensors: bool = False
    trust_remote_code: bool = False
    random_seed: int | None = None
    lazy_unpickle: bool = False
    write_model_card: bool = True
    safe_serialization: bool = True
    verbosity: int = 0
    quiet: bool = False
    read_to_gpu: bool = False
    multi_gpu: bool = False
    num_threads: int | None = None
    gpu_rich: bool = False
    async_write: bool = False
    write_threads: int = 1

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if name not in MergeOptions.__annotations__:
                raise unknown_keyword("MergeOptions", name, MergeOptions.__annotations__)
            setattr(self, name, _option(name, value))
        if not self.safe_serialization:
            raise UsageError("safe_serialization: only safetensors are written")
        if self.unsafe_truncate_embeddings:
            raise UsageError(
                "unsafe_truncate_embeddings is not supported: align vocabularies with "
                "'tokenizer_source' in the recipe"
            )

    @classmethod
    def model_validate(cls, obj: Any) -> MergeOptions:
        """Returns the options of a dict `obj`; options stay as they are."""
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping):
            raise UsageError(f"expected a dict, found {type(obj).__name__}")
        return cls(**obj)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Returns all values; pydantic's options have no effect."""
        return {name: getattr(self, name) for name in MergeOptions.__annotations__}

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> MergeOptions:
        """Returns a copy with the values of the dict `update`."""
        return MergeOptions(**{**vars(self), **(update or {})})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MergeOptions) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"MergeOptions({values})"


_FLAGS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


def _option(name: str, value: Any) -> Any:
    """Returns the value of an option in the option's type."""
    kind = MergeOptions.__annotations__[name].split(" ")[0]
    if value is None and (MergeOptions.__annotations__[name] != kind or name == "out_shard_size"):
        return getattr(MergeOptions, name)
    if kind == "str":
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        return str(value).removeprefix("torch.")
    made = _FLAGS.get(str(value).lower()) if kind == "bool" else _integer(value)
    if made is None:
        what = "True or False" if kind == "bool" else "a whole number"
        raise UsageError(f"{name}: expected {what}, found {value!r}")
    return made


def _integer(value: Any) -> int | None:
    """Returns the whole number that an integer, a float or a text stands for; None: none."""
    import operator

    try:
        if isinstance(value, float):
            return int(value) if value.is_integer() else None
        return int(value, 10) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        return None


def run_merge(
    merge_config: MergeConfiguration | Mapping[str, Any],
    out_path: str | os.PathLike[str],
    options: MergeOptions | None = None,
    config_source: str | None = None,
) -> None:
    """Merges what a recipe describes into a folder; a model in it is replaced.

    merge_config: a MergeConfiguration or a dict. out_path: the folder. options: MergeOptions.
    config_source: the recipe's text, written to mergekit_config.yml in place of the
    configuration's; by default the configuration is written as YAML. A text of another recipe is
    not written, and there is a warning.

    Raises:
        NotFoundError, FormatError, MismatchError: the models, with the line of the recipe.
        ExistsError: the folder holds something else than a model.
    """
    config = MergeConfiguration.model_validate(merge_config)
    if config_source is not None:
        config = _with_source(config, config_source)
    options = MergeOptions() if options is None else options
    seed = whole("random_seed", options.random_seed, 0, 2**64 - 1)
    folder = _tensors.path_of(out_path, "out_path")
    run: dict[str, Any] = {
        "threads": whole("num_threads", options.num_threads),
        "shard_size": shard_bytes("out_shard_size", options.out_shard_size),
    }
    verbose = False if options.quiet else None
    how = (bool(options.write_model_card), bool(options.copy_tokenizer))
    with _cache(options.transformers_cache), Progress("downloading", verbose) as progress:
        if not all(os.path.exists(name) for name in config.referenced_models()):
            config._parse().plan(seed, True, *how)  # errors before values are downloaded
        plan = config._parse().plan(seed, False, *how, progress)
    for line in plan.report:
        warn(line)
    with Progress("merging", verbose) as progress:
        plan.run(folder, overwrite=True, progress=progress, **run)


def _with_source(config: MergeConfiguration, source: str) -> MergeConfiguration:
    """Returns the configuration with its text as the user wrote it, if that is the same recipe."""
    made = MergeConfiguration.from_yaml(source)
    if made == config:
        return made
    warn("config_source is not the recipe that is merged: mergekit_config.yml has the latter")
    return config


def _cache(folder: str | None) -> AbstractContextManager[None]:
    """Downloads to a folder meanwhile: the library reads the variable when it opens a model."""
    import contextlib

    @contextlib.contextmanager
    def changed() -> Iterator[None]:
        before = os.environ.get("HF_HUB_CACHE")
        if folder is not None:
            os.environ["HF_HUB_CACHE"] = os.fspath(folder)
        try:
            yield
        finally:
            if folder is not None:
                os.environ.pop("HF_HUB_CACHE")
                if before is not None:
                    os.environ["HF_HUB_CACHE"] = before

    return changed()


def _yaml(fields: Mapping[str, Any]) -> str:
    """Returns YAML: by PyYAML if it is installed, else JSON, which YAML includes."""
    import json

    # Through JSON: subclasses of dict and str, tuples, paths and dtypes become plain values.
    plain = dumped(fields, True)
    text = json.dumps(plain, ensure_ascii=False, indent=2, default=_plain)
    if not _tensors.is_installed("yaml"):
        return text + "\n"
    import yaml

    written: str = yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True)
    return written


def _plain(value: Any) -> Any:
    """Returns what JSON holds of a model reference, a dtype, a path or a number of numpy."""
    for convert in ("model_dump", "item"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    return str(value).removeprefix("torch.")
