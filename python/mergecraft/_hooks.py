"""Statistics of torch modules: Gram matrices by hooks, Fisher information by autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from . import _modules, _tensors
from ._errors import ArgumentError, MismatchError, UnsupportedError, UsageError, shown, warn

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    import torch

_LABELS = ("labels", "label")


class Statistics:
    """What was observed: Gram matrices by weight, Fisher information by parameter."""

    def __init__(self) -> None:
        self.grams: dict[str, torch.Tensor] = {}
        self.fishers: dict[str, torch.Tensor] = {}
        self.examples = self.tokens = 0

    def shared(self) -> dict[str, str]:
        """Returns weights whose Gram matrix equals that of an earlier one, with its name.

        Queries, keys and values read the same inputs.
        """
        import torch

        found: dict[str, str] = {}
        alike: dict[Any, list[str]] = {}
        for name, gram in self.grams.items():
            # Equal matrices have equal sums: few are compared in full.
            owners = alike.setdefault((gram.shape, float(gram.sum())), [])
            same = [owner for owner in owners if torch.equal(self.grams[owner], gram)]
            if same:
                found[name] = same[0]
            else:
                owners.append(name)
        return found


class _Batch:
    """The arguments of one call of a module, its labels, and which tokens are not padding."""

    def __init__(self, value: Any, device: Any) -> None:
        self.args: tuple[Any, ...] = ()
        self.keywords: dict[str, Any] = {}
        self.labels: Any = None
        if isinstance(value, Mapping):
            for name, item in value.items():
                if name in _LABELS:
                    self.labels = item
                else:
                    self.keywords[name] = item
        elif isinstance(value, (tuple, list)) and 1 <= len(value) <= 2:
            self.args, self.labels = (value[0],), value[1] if len(value) == 2 else None
        else:
            self.args = (value,)
        self.args = tuple(_moved(item, device) for item in self.args)
        self.keywords = {name: _moved(item, device) for name, item in self.keywords.items()}
        tensors = [t for t in [*self.args, *self.keywords.values()] if _tensors.is_torch(t)]
        if not tensors or any(not t.ndim for t in tensors):
            raise ArgumentError(
                "data: expected batches: a tensor, (inputs, labels), or a dict of keywords of "
                f"forward, found {type(value).__name__}"
            )
        self.count = len(tensors[0])

    @property
    def mask(self) -> Any:
        mask: Any = self.keywords.get("attention_mask")
        return mask.bool() if _tensors.is_torch(mask) and mask.ndim == 2 else None

    def first(self, count: int) -> _Batch:
        return self._part(slice(0, count))

    def singles(self) -> Iterator[_Batch]:
        """Yields the examples one by one."""
        for i in range(self.count):
            yield self._part(slice(i, i + 1))

    def _part(self, which: slice) -> _Batch:
        import copy

        def part(item: Any) -> Any:
            whole = _tensors.is_torch(item) and len(item) == self.count
            return item[which] if whole else item

        made = copy.copy(self)
        made.args = tuple(part(item) for item in self.args)
        made.keywords = {name: part(item) for name, item in self.keywords.items()}
        made.labels = None if self.labels is None else self.labels[which]
        made.count = len(range(*which.indices(self.count)))
        return made

    def run(self, module: Any) -> Any:
        return module(*self.args, **self.keywords)


def _moved(item: Any, device: Any) -> Any:
    return item.to(device) if _tensors.is_torch(item) else item


class _Observing:
    """A module that is observed: without dropout, all of its parameters with gradients."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._training = [part for part in module.modules() if part.training]
        self._frozen = [p for p in module.parameters() if not p.requires_grad]

    def __enter__(self) -> None:
        self._module.eval()
        for parameter in self._frozen:
            if parameter.is_floating_point():
                parameter.requires_grad_(True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for part in self._training:
            part.training = True
        for parameter in self._frozen:
            parameter.requires_grad_(False)


def observe(
    module: Any,
    batches: Iterable[Any],
    grams: bool,
    fishers: bool,
    empirical: bool,
    most: int | None,
    progress: Callable[[int, int], Any],
) -> Statistics:
    """Observes a module on batches of examples, at most `most` of them.

    Raises:
        ArgumentError: what is not a batch. UsageError: no examples, or none with a label.
        UnsupportedError: Fisher information of logits of another shape.
    """
    found = Statistics()
    device = next(iter(module.parameters())).device
    with _Observing(module), _GramHooks(module, found, grams) as hooks:
        for value in batches:
            batch = _Batch(value, device)
            if most is not None:
                batch = batch.first(most - found.examples)
            if grams:
                hooks.run(batch)
            if fishers:
                for example in batch.singles():
                    _add_fisher(module, example, empirical, found.fishers)
            found.examples += batch.count
            progress(found.examples, most or found.examples)
            if most is not None and found.examples >= most:
                break
    if not found.examples:
        raise UsageError("data: expected at least one example to observe, found none")
    for total in found.fishers.values():
        total /= found.examples
    return found


# ---- Gram matrices -------------------------------------------------------------------------------


class _GramHooks:
    """Hooks on the linear layers of a module, which sum up XᵀX of their inputs."""

    def __init__(self, module: Any, found: Statistics, wanted: bool) -> None:
        self._module, self._found = module, found
        self._rows: dict[str, int] = {}
        self._batch: _Batch | None = None
        # Inputs of this call by identity: several layers read the same. Kept, so that no other
        # tensor gets the same identity.
        self._seen: dict[tuple[int, int], tuple[Any, Any, int]] = {}
        self._handles = [
            part.register_forward_pre_hook(self._hook(name)) for name, part in self._layers(wanted)
        ]
        self._unmasked: set[str] = set()

    def _layers(self, wanted: bool) -> Iterator[tuple[str, Any]]:
        import torch

        own = _modules.parameters_of(self._module)
        for name, part in self._module.named_modules() if wanted else ():
            weight = f"{name}.weight" if name else "weight"
            # Conv1D of transformers is a linear layer with a transposed weight.
            linear = isinstance(part, torch.nn.Linear) or type(part).__name__ == "Conv1D"
            if linear and weight in own:
                yield weight, part

    def __enter__(self) -> _GramHooks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        for name, rows in self._rows.items():
            self._found.grams[name] /= max(rows, 1)
        self._found.tokens = max(self._rows.values(), default=0)
        if self._unmasked and kind is None:
            layers = f"{len(self._unmasked)} layers: {shown(sorted(self._unmasked))}"
            warn(f"observe(): padding was taken for tokens in {layers}")

    def run(self, batch: _Batch) -> None:
        import torch

        self._batch = batch
        with torch.no_grad():
            batch.run(self._module)
        self._batch = None
        self._seen.clear()

    def _hook(self, name: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def hook(part: Any, args: tuple[Any, ...]) -> None:
            if self._batch is not None and args:  # not while gradients are computed
                gram, rows = self._gram(name, args[0], self._batch)
                total = self._found.grams.get(name)
                self._found.grams[name] = gram.clone() if total is None else total.add_(gram)
                self._rows[name] = self._rows.get(name, 0) + rows

        return hook

    def _gram(self, name: str, x: Any, batch: _Batch) -> tuple[Any, int]:
        import torch

        key = (id(x), x._version)
        if key not in self._seen:
            kept = self._tokens(name, x, batch).to(torch.float32)
            self._seen[key] = (x, kept.T @ kept, len(kept))
        _, gram, rows = self._seen[key]
        return gram, rows

    def _tokens(self, name: str, x: Any, batch: _Batch) -> Any:
        """Returns the rows of an input that are not padding."""
        flat, mask = x.reshape(-1, x.shape[-1]), batch.mask
        if mask is None or bool(mask.all()) or len(flat) == batch.count:
            return flat
        if len(flat) == mask.numel():
            return flat[mask.reshape(-1)]
        self._unmasked.add(name)
        return flat


# ---- Fisher information --------------------------------------------------------------------------


def _add_fisher(
    module: Any, example: _Batch, empirical: bool, total: dict[str, torch.Tensor]
) -> None:
    """Adds Σ weight · (∂ value / ∂θ)² of one example, of every parameter."""
    import torch

    parameters = {n: p for n, p in _modules.parameters_of(module).items() if p.requires_grad}
    with torch.enable_grad():
        logits = _logits(example.run(module))
        terms = _empirical(module, logits, example) if empirical else _exact(module, logits)
        for weight, value in terms:
            found = torch.autograd.grad(
                value, list(parameters.values()), retain_graph=True, allow_unused=True
            )
            for (name, parameter), gradient in zip(parameters.items(), found):
                if name not in total:
                    total[name] = torch.zeros_like(parameter, dtype=torch.float32)
                if gradient is not None:
                    total[name] += weight * gradient.detach().float().square()


def _logits(output: Any) -> Any:
    """Returns the logits of one example, [labels]."""
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, (tuple, list)) and output:
        found = output[0]
    found = output if found is None else found
    if not _tensors.is_torch(found) or found.ndim != 2 or len(found) != 1:
        shape = list(found.shape) if _tensors.is_torch(found) else type(found).__name__
        raise UnsupportedError(
            f"fishers: expected logits of shape [examples, labels], found {shape}; "
            "fishers=False observes Gram matrices only"
        )
    return found[0].float()


def _kind(module: Any, logits: Any) -> str:
    """Returns what the logits are: 'softmax', 'sigmoid' or 'normal'."""
    problem = getattr(getattr(module, "config", None), "problem_type", None)
    if problem == "multi_label_classification":
        return "sigmoid"
    return "normal" if problem == "regression" or len(logits) == 1 else "softmax"


def _exact(module: Any, logits: Any) -> Iterator[tuple[Any, Any]]:
    """Yields weights and values whose squared derivatives make up the expectation over labels."""
    kind = _kind(module, logits)
    if kind == "softmax":
        logs = logits.log_softmax(0)
        yield from zip(logs.detach().exp(), logs)
    elif kind == "sigmoid":  # (∂ log p)² over yes and no is p·(1 − p)·(∂ logit)²
        shares = logits.detach().sigmoid()
        yield from zip(shares * (1 - shares), logits)
    else:
        yield from ((1, logit) for logit in logits)


def _empirical(module: Any, logits: Any, example: _Batch) -> Iterator[tuple[Any, Any]]:
    import torch

    if example.labels is None:
        raise UsageError("form: expected labels for 'empirical', found none")
    label = torch.as_tensor(example.labels, device=logits.device).reshape(-1)
    kind = _kind(module, logits)
    if kind == "softmax":
        index = int(label[0])
        if index != label[0] or not 0 <= index < len(logits):
            most = len(logits) - 1
            raise MismatchError(f"data: expected a label from 0 to {most}, found {label[0]:g}")
        yield 1, -logits.log_softmax(0)[index]
    elif kind == "sigmoid":
        yield 1, torch.nn.functional.binary_cross_entropy_with_logits(
            logits, label.to(logits.dtype), reduction="sum"
        )
    else:
        yield 1, (logits - label.to(logits.dtype)).square().sum()
