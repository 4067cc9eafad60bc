"""torch tensors or numpy arrays; imports either only when it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from . import _core
from ._errors import ArgumentError, MismatchError, UnsupportedError

TYPE_CHECKING = False  # spares the import of typing at run time
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    import numpy
    import torch

    Tensor: TypeAlias = Any  # a torch.Tensor, or a numpy.ndarray where torch is not installed

_has_torch: bool | None = None


def is_installed(module: str) -> bool:
    """Returns whether a module can be imported. Does not import it."""
    import importlib.util

    return module in sys.modules or importlib.util.find_spec(module) is not None


def has_torch() -> bool:
    """Returns whether tensors are torch's: it is installed. Does not import it."""
    global _has_torch
    if _has_torch is None:
        _has_torch = is_installed("torch")
    return _has_torch


def is_torch(value: object) -> bool:
    """Returns whether a value is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_numpy(value: object) -> bool:
    """Returns whether a value is an array or a scalar of numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def is_tensor(value: object) -> bool:
    return is_torch(value) or is_numpy(value)


def is_module(value: object) -> bool:
    """Returns whether a value is a torch.nn.Module."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def dtype_of(tensor: Tensor) -> str:
    """Returns the dtype's name in torch: 'bfloat16'."""
    return str(tensor.dtype).removeprefix("torch.") if is_torch(tensor) else tensor.dtype.name


def numpy_dtype(name: str) -> numpy.dtype[Any]:
    """Returns a numpy dtype, or one of ml_dtypes for those that numpy lacks."""
    import numpy

    if name.startswith(("bfloat16", "float8_", "float6_", "float4_")):
        import ml_dtypes

        found = getattr(ml_dtypes, name, None)
    else:
        found = getattr(numpy, "bool_" if name == "bool" else name, None)
    if found is None:
        raise UnsupportedError(f"numpy has no dtype '{name}'")
    made: numpy.dtype[Any] = numpy.dtype(found)
    return made


def torch_dtype(name: str) -> torch.dtype:
    """Returns a dtype of torch."""
    import torch

    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise UnsupportedError(f"torch has no dtype '{name}'")
    return found


def dtype_named(dtype: Any) -> str:
    """Returns torch's name of a dtype: of 'bf16', numpy.float32, …; '' if it is not a dtype."""
    text = dtype.__name__ if isinstance(dtype, type) else str(dtype).removeprefix("torch.")
    try:
        return _core.dtype_name(text)
    except ValueError:
        return ""


def is_broken(text: str) -> bool:
    """Returns whether a text has half a surrogate pair, which UTF-8 cannot hold."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def path_of(value: Any, what: str) -> str:
    """Returns the text of a path or an id."""
    if not isinstance(value, (str, os.PathLike)):
        raise ArgumentError(f"{what}: expected a path, found {type(value).__name__}")
    return os.fsdecode(value)


def layer_dtype(name: str) -> str:
    """Returns the dtype layers are computed in: float32 for float16 and bfloat16."""
    return "float32" if name != "float64" and _core.is_float(name) else name


def from_source(source: _core.Source, dtype: str | None = None, share: bool = False) -> Tensor:
    """Returns the tensor of a source: a private mapping of its file, or a copy.

    It is writable and the caller's own. share: do not copy memory that nobody else reads.
    """
    name = dtype or source.dtype
    memory = source.load(None if name == source.dtype else name, share)
    if not has_torch():
        return _numpy_of(memory, name, source.shape)
    import torch

    if len(memory) == 0:
        return torch.empty(source.shape, dtype=torch_dtype(name), device="cpu")
    return torch.frombuffer(memory, dtype=torch_dtype(name)).reshape(source.shape)


def _numpy_of(memory: _core.Memory, dtype: str, shape: tuple[int, ...]) -> numpy.ndarray[Any, Any]:
    import numpy

    return numpy.frombuffer(memoryview(memory), numpy_dtype(dtype)).reshape(shape)


def to_source(value: Tensor, what: str = "") -> _core.Source:
    """Returns a source over the memory of a tensor, which it keeps.

    Copies only what is not contiguous or not in the CPU's memory. what: begins errors.
    """
    try:
        if is_torch(value):
            return _torch_source(value)
        import numpy

        array = numpy.asarray(value, order="C")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return _core.wrap(array.dtype.name, array.shape, array.ctypes.data, array.nbytes, array)
    except ValueError as error:
        raise ArgumentError(f"{what}: {error}" if what else str(error)) from None


def check_dense(tensor: Tensor) -> None:
    """Raises ValueError unless the tensor's values are contiguous in memory."""
    if not is_torch(tensor):
        return
    import torch

    if tensor.device.type == "meta":
        raise ValueError("the tensor is on the meta device and has no values")
    if tensor.layout != torch.strided:
        raise ValueError(f"expected a dense tensor, found one of layout {tensor.layout}")


def _torch_source(value: torch.Tensor) -> _core.Source:
    tensor = value.detach()
    check_dense(tensor)
    tensor = tensor.cpu().contiguous().resolve_conj().resolve_neg()
    return _core.wrap(
        dtype_of(tensor), tuple(tensor.shape), tensor.data_ptr(), tensor.nbytes, tensor
    )


def cast(tensor: Tensor, dtype: str) -> Tensor:
    """Returns the tensor in a dtype; itself if it has that."""
    if dtype_of(tensor) == dtype:
        return tensor
    if is_torch(tensor):
        return tensor.to(torch_dtype(dtype))
    return tensor.astype(numpy_dtype(dtype))


def is_broadcast(value: Any, shape: tuple[int, ...]) -> bool:
    """Returns whether a value broadcasts to a shape without changing that shape."""
    own = tuple(getattr(value, "shape", ()))
    return len(own) <= len(shape) and all(
        a in (1, b) for a, b in zip(reversed(own), reversed(shape))
    )


def copy_as(tensor: Tensor, dtype: str) -> Tensor:
    """Returns a copy in a dtype, on the tensor's own device; keeps the history of gradients."""
    if is_torch(tensor):
        if not tensor.requires_grad and tensor.dtype is torch_dtype(dtype):
            return tensor.clone()  # half the time of to(copy=True)
        return tensor.to(torch_dtype(dtype), copy=True)
    import numpy

    return numpy.array(tensor, dtype=numpy_dtype(dtype), order="C")


def plain(tensor: Tensor) -> Tensor:
    """Returns it without a history of gradients; scalars of numpy as arrays."""
    if is_torch(tensor):
        return tensor.detach() if tensor.requires_grad else tensor
    import numpy

    return numpy.asarray(tensor)


def is_float(tensor: Tensor) -> bool:
    return _core.is_float(dtype_of(tensor))


def equal(a: Tensor, b: Tensor) -> bool:
    """Returns whether two tensors have the same dtype, shape and values."""
    if tuple(a.shape) != tuple(b.shape) or dtype_of(a) != dtype_of(b):
        return False
    return bool((a == like(b, a)).all())


def has_history(tensor: Tensor) -> bool:
    """Returns whether gradients flow through a tensor."""
    return is_torch(tensor) and bool(tensor.requires_grad)


def is_computed(tensor: Any) -> bool:
    """Returns whether a tensor is the result of a computation through which gradients flow."""
    return is_torch(tensor) and tensor.grad_fn is not None


# ---- arithmetic ----------------------------------------------------------------------------------


def number(value: Any) -> Any:
    """Returns numpy's scalars and arrays without dimensions as numbers of Python."""
    return value.item() if is_numpy(value) and value.ndim == 0 else value


def plainness() -> Callable[[Any, Any], bool]:
    """Returns the function is_plain: whether torch's operator on two tensors needs no special case.

    They are torch's own, both float32 or both float64. Looks torch up once for many tensors.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return lambda left, right: False
    kind, single, double = torch.Tensor, torch.float32, torch.float64

    def is_plain(left: Any, right: Any) -> bool:
        if type(left) is not kind or type(right) is not kind:
            return False
        dtype = left.dtype
        return (dtype is single or dtype is double) and right.dtype is dtype

    return is_plain


def plain_dtype(tensors: list[Any]) -> Any:
    """Returns the dtype of tensors that need no special case, None if one of them does.

    They are torch's own, all float32 or all float64, without a history of gradients.
    """
    torch = sys.modules.get("torch")
    if torch is None or set(map(type, tensors)) != {torch.Tensor}:
        return None
    dtypes = {each.dtype for each in tensors}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return None
    return None if any([each.requires_grad for each in tensors]) else dtypes.pop()


_AT_ONCE = {"+": "_foreach_add", "-": "_foreach_sub", "*": "_foreach_mul", "/": "_foreach_div"}
_MOST_AT_ONCE = 32  # tensors of one call, which Ctrl-C does not interrupt


def at_once(symbol: str, lefts: list[Any], rights: Any) -> list[Tensor] | None:
    """Returns torch's operation on each pair of two lists of tensors, or on each and a number.

    One call for many tensors takes half the time of a call for each. None if a tensor needs care
    or the shapes of a pair differ.
    """
    operation = getattr(sys.modules.get("torch"), _AT_ONCE.get(symbol, ""), None)
    pairs = isinstance(rights, list)
    if operation is None or plain_dtype(lefts + rights if pairs else lefts) is None:
        return None
    if pairs and [each.shape for each in lefts] != [each.shape for each in rights]:
        return None
    made: list[Tensor] = []
    for at in range(0, len(lefts), _MOST_AT_ONCE):
        end = at + _MOST_AT_ONCE
        made += operation(lefts[at:end], rights[at:end] if pairs else rights)
    return made


def clones(tensors: Sequence[Any]) -> list[Tensor]:
    """Returns copies of torch's own tensors without a history of gradients."""
    import torch

    at_once = getattr(torch, "_foreach_clone", None)  # a fifth faster where torch has it
    return list(at_once(tensors)) if at_once else [each.clone() for each in tensors]


_MOST_KEPT = 16 << 20  # bytes


def keep_memory(bytes: int) -> None:
    """Prepares for many small tensors of torch, of so many bytes together.

    The C library gives memory back to the system when the last small tensors of a state dict are
    freed. The next state dict then faults in each page again, which takes as long as simple
    arithmetic on it. Once a large block has been freed, the C library keeps twice its size. The
    block itself is not touched.
    """
    import torch

    torch.empty(min(bytes, _MOST_KEPT), dtype=torch.uint8)


def together(left: Any, right: Any) -> tuple[Any, Any]:
    """Returns two operands of one framework and device: those of the left tensor.

    An array beside a tensor of torch becomes one, so that gradients are kept.
    """
    if not (is_tensor(left) and is_tensor(right)):
        return left, right
    if is_torch(right) and not is_torch(left):
        return like(left, right), right
    return left, like(right, left)


def result_dtype(left: Any, right: Any) -> str | None:
    """Returns the dtype of an operation's result: the wider one of its float tensors.

    A tensor without dimensions counts only if it is alone. None if neither is a float tensor.
    """
    tensors = [each for each in (left, right) if is_tensor(each)]
    large = [each for each in tensors if each.ndim] or tensors
    found = [dtype_of(each) for each in large if _core.is_float(dtype_of(each))]
    if not found:
        found = [dtype_of(each) for each in tensors if _core.is_float(dtype_of(each))]
    return None if not found else _core.widest(found[0], found[-1])


def widened(value: Any, dtype: str) -> Any:
    """Returns a tensor in the dtype of a computation; numbers stay."""
    return cast(value, dtype) if is_tensor(value) else value


def as_torch_rounds(tensor: Tensor) -> Tensor:
    """Returns numpy's float64 result of integers as float32, which torch computes."""
    return tensor.astype("float32") if is_numpy(tensor) and tensor.dtype == "float64" else tensor


def dot(left: Tensor, right: Tensor) -> float:
    """Returns the sum of products, computed in float64."""
    left, right = together(left, right)
    if tuple(left.shape) != tuple(right.shape):
        raise MismatchError(
            f"shape {list(left.shape)} on the left, {list(right.shape)} on the right"
        )
    if is_torch(left):
        import torch

        a, b = (plain(each).reshape(-1).to(torch.float64) for each in (left, right))
        return float(torch.dot(a, b))
    import numpy

    return float(numpy.dot(*(each.reshape(-1).astype(numpy.float64) for each in (left, right))))


def concatenate(tensors: list[Tensor]) -> Tensor:
    """Returns the values of tensors as one vector."""
    if tensors and is_torch(tensors[0]):
        import torch

        return torch.cat([tensor.reshape(-1) for tensor in tensors])
    import numpy

    flat = [tensor.reshape(-1) for tensor in tensors]
    return numpy.concatenate(flat) if flat else numpy.empty(0, numpy.float32)


def to_numpy(tensor: Tensor, dtype: str) -> numpy.ndarray[Any, Any]:
    """Returns a contiguous array in float32 or float64, without a copy if the tensor is one."""
    import numpy

    if is_torch(tensor):
        array: numpy.ndarray[Any, Any] = (
            tensor.detach().to("cpu", torch_dtype(dtype)).contiguous().numpy()
        )
        return array
    return numpy.asarray(tensor, dtype=numpy_dtype(dtype), order="C")


def like(tensor: Tensor, source: Tensor) -> Tensor:
    """Returns `tensor` as a tensor of the framework and on the device of `source`."""
    if is_torch(source):
        made = tensor if is_torch(tensor) else from_source(to_source(tensor))
        return made.to(source.device)
    if not is_torch(tensor):
        return tensor
    given = to_source(tensor)
    return _numpy_of(given.load(), given.dtype, given.shape)
