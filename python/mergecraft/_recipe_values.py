"""The parts of a recipe as mergekit's callers read them: dicts and texts that have attributes."""

from __future__ import annotations

from collections.abc import Mapping

from ._errors import UsageError

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any, ClassVar


class ModelPath(str):
    """A model without adapter: `PATH` or `PATH@REVISION`, a text with attributes.

    Attributes:
        path: a folder or an id of the Hub. revision: of an id, or None.
    """

    path: str
    revision: str | None

    def __new__(cls, path: str, revision: str | None = None) -> ModelPath:
        if not isinstance(path, str):
            raise TypeError(f"expected a text as path, found {path!r}")
        made = super().__new__(cls, f"{path}@{revision}" if revision else path)
        made.path, made.revision = path, revision
        return made

    def __reduce__(self) -> Any:
        return ModelPath, (self.path, self.revision)


class ModelReference(str):
    """A model of a recipe: `MODEL` or `MODEL+ADAPTER`, a text with attributes.

    Attributes:
        model: a ModelPath. lora: the adapter's ModelPath, or None.
        override_architecture: in place of that of the model's configuration, or None.
    """

    model: ModelPath
    lora: ModelPath | None
    override_architecture: str | None

    def __new__(
        cls, model: Any, lora: Any = None, override_architecture: str | None = None
    ) -> ModelReference:
        parts = [_path(part) for part in (model, lora) if part is not None]
        made = super().__new__(cls, "+".join(parts))
        made.model, made.lora = parts[0], parts[1] if lora is not None else None
        made.override_architecture = override_architecture
        return made

    @classmethod
    def parse(cls, value: str) -> ModelReference:
        """Returns the model that a text names."""
        return cls.model_validate(value)

    @classmethod
    def model_validate(cls, obj: Any) -> ModelReference:
        """Returns the model of a text or a dict; a model stays as it is.

        Raises:
            UsageError (a ValueError): not a model.
        """
        if isinstance(obj, cls):
            return obj
        try:
            if isinstance(obj, Mapping):
                return cls(**obj)
            model, plus, lora = obj.partition("+")
            if "+" not in lora:
                return cls(model, lora if plus else None)
        except (AttributeError, TypeError, ValueError):
            pass
        raise UsageError(f"expected a model, found {obj!r}")

    def model_dump(self, **options: Any) -> Any:
        """Returns the text, or the dict of a model that no text describes."""
        parts = [part for part in (self.model, self.lora) if part is not None]
        if self.override_architecture is None and not any(
            "+" in part or "@" in part.path for part in parts
        ):
            return str(self)
        names = [{"path": part.path, "revision": part.revision} for part in parts]
        made = dict(zip(("model", "lora"), [_given(name) for name in names]))
        return {**made, **_given({"override_architecture": self.override_architecture})}

    def __reduce__(self) -> Any:
        return ModelReference, (self.model, self.lora, self.override_architecture)


def _path(value: Any) -> ModelPath:
    if isinstance(value, ModelPath):
        return value
    if isinstance(value, ModelReference) and value.lora is None:
        return value.model
    return ModelPath(**value) if isinstance(value, Mapping) else ModelPath(*value.split("@"))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class Entry(dict):  # type: ignore[type-arg]
    """A part of a recipe: a dict whose keys are attributes, also those that are not given.

    KEYS: their names, and what those are that are not given.
    """

    KEYS: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, /, **values: Any) -> None:
        super().__init__((name, self.typed(name, value)) for name, value in values.items())

    @staticmethod
    def typed(name: str, value: Any) -> Any:
        return typed(name, value)

    @classmethod
    def model_validate(cls, obj: Any) -> Entry:
        """Returns the part of a dict `obj`; a part stays as it is.

        Raises:
            UsageError (a ValueError): not a dict.
        """
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping):
            raise UsageError(f"expected a dict, found {type(obj).__name__}")
        return cls(**obj)

    def model_dump(
        self,
        *,
        exclude_none: bool = False,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Returns plain dicts, lists and values; other options of pydantic have no effect."""
        made: dict[str, Any] = dumped(self, exclude_none or exclude_unset or exclude_defaults)
        return made

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name in self.KEYS:
            return self.KEYS[name]
        raise AttributeError(f"{type(self).__name__} has no '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.KEYS:
            raise AttributeError(f"{type(self).__name__} has no '{name}'")
        self[name] = self.typed(name, value)

    def __reduce__(self) -> Any:
        return _entry, (type(self), dict(self))


def _entry(kind: type[Entry], values: dict[str, Any]) -> Entry:
    return kind(**values)


class InputModelDefinition(Entry):
    KEYS = {"model": None, "parameters": None}


class InputSliceDefinition(Entry):
    KEYS = {"model": None, "layer_range": None, "parameters": None}


class OutputSliceDefinition(Entry):
    KEYS = {"sources": None, "base_model": None, "residual_weight": None, "parameters": None}


class OutputModuleDefinition(Entry):
    KEYS = {"slices": None, "models": None, "parameters": None}


class ConditionalParameter(Entry):
    KEYS = {"value": None, "filter": None}


class TokenizerConfig(Entry):
    KEYS = {"source": "union", "tokens": None, "pad_to_multiple_of": None}


class ModelTokenEmbedding(Entry):
    KEYS = {"kind": None, "model": None, "token_id": None, "token": None}


class ZeroEmbedding(Entry):
    KEYS = {"kind": None}


class TokenEmbeddingConfig(Entry):
    KEYS = {"source": None, "force": False}

    @staticmethod
    def typed(name: str, value: Any) -> Any:
        if name != "source":
            return value
        if _is_named(value) and "kind" in value:
            return _part(ZeroEmbedding if value["kind"] == "zero" else ModelTokenEmbedding, value)
        return _model(value)


_LISTS = {
    "models": InputModelDefinition,
    "slices": OutputSliceDefinition,
    "sources": InputSliceDefinition,
}
_MAPS = {"modules": OutputModuleDefinition, "tokens": TokenEmbeddingConfig}
_MODELS = ("model", "base_model")


def typed(key: str, value: Any) -> Any:
    """Returns a copy of the value of a key with its parts in their classes.

    What does not fit stays as it is: the recipe's parser reports it, with its line.
    """
    if key in _LISTS and isinstance(value, (list, tuple)):
        return [_part(_LISTS[key], item) for item in value]
    if key in _MAPS and isinstance(value, Mapping):
        return {name: _part(_MAPS[key], item) for name, item in value.items()}
    if key == "tokenizer":
        return _part(TokenizerConfig, value)
    if key in _MODELS or (
        key in ("source", "tokenizer_source") and value not in ("union", "base")
    ):
        return _model(value)
    if key == "parameters" and isinstance(value, Mapping):
        return {name: _setting(item) for name, item in value.items()}
    if key == "layer_range" and isinstance(value, list):
        return tuple(value)
    return _copied(value)


def _part(kind: type[Entry], value: Any) -> Any:
    if isinstance(value, kind) or not _is_named(value):
        return value
    return kind(**value)


def _is_named(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _model(value: Any) -> Any:
    try:
        if isinstance(value, str) or (_is_named(value) and "model" in value):
            return ModelReference.model_validate(value)
    except UsageError:
        pass
    return _copied(value)


def _setting(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_setting(item) for item in value]
    return _part(ConditionalParameter, value)


def _copied(value: Any) -> Any:
    import copy

    return copy.deepcopy(value) if isinstance(value, (dict, list)) else value


def references(value: Any) -> dict[str, ModelReference]:
    """Returns the models in a part of a recipe, by their text."""
    if isinstance(value, ModelReference):
        return {str(value): value}
    items = list(value.values()) if isinstance(value, Mapping) else value
    items = items if isinstance(items, list) else []
    return {text: model for item in items for text, model in references(item).items()}


def dumped(value: Any, only_given: bool) -> Any:
    """Returns plain dicts and lists of a part and all in it; only_given: without other keys."""
    if isinstance(value, ModelReference):
        return value.model_dump()
    if isinstance(value, Mapping):
        keys = {} if only_given else getattr(value, "KEYS", {})
        return {
            name: dumped(item, only_given)
            for name, item in {**keys, **value}.items()
            if not (only_given and item is None and name in getattr(value, "KEYS", ()))
        }
    if isinstance(value, (list, tuple)):
        return type(value)(dumped(item, only_given) for item in value)
    return value
