"""StateDict: access, arithmetic, names, files."""

from __future__ import annotations

import copy
import hashlib
import pickle
from pathlib import Path

import numpy
import pytest
from conftest import HAS_TORCH, array, checkpoint, dtype_of, needs_torch, same, tensor

import mergecraft
from mergecraft import (
    ArgumentError,
    ExistsError,
    MergeWarning,
    MismatchError,
    NotFoundError,
    StateDict,
    UnsupportedError,
    UsageError,
)


def two():
    return (
        StateDict({"x": tensor([1.0, 2.0]), "y": tensor([[3.0]]), "only": tensor([9.0])}),
        StateDict({"y": tensor([[5.0]]), "x": tensor([10.0, 20.0])}),
    )


def test_operations_of_two_dicts():
    a, b = two()
    for operation, x, y in (
        (lambda: a + b, [11, 22], 8),
        (lambda: a - b, [-9, -18], -2),
        (lambda: a * b, [10, 40], 15),
        (lambda: b / a, [10, 10], 5 / 3),
    ):
        with pytest.warns(MergeWarning, match=". 1 tensor is in one state dict only: only"):
            result = operation()
        assert isinstance(result, StateDict)
        same(result["x"], x)
        same(result["y"], [[y]], 1e-6)
    with pytest.warns(MergeWarning):
        assert list(a + b) == ["x", "y"]  # names of both, in the first one's order
    same(a["x"], [1, 2])


def test_operations_with_numbers():
    a, _ = two()
    same((a + 1)["x"], [2, 3])
    same((1 + a)["x"], [2, 3])
    same((1 - a)["x"], [0, -1])
    same((a - 1)["x"], [0, 1])
    same((2 * a)["x"], [2, 4])
    same((a * 2)["x"], [2, 4])
    same((1 / a)["x"], [1, 0.5])
    same((a / 2)["x"], [0.5, 1])
    same((-a)["x"], [-1, -2])
    same((+a)["x"], [1, 2])


def test_operations_with_tensors_and_plain_dicts():
    a, _ = two()
    same((a * tensor(3.0))["x"], [3, 6])
    same((tensor(3.0) * a)["x"], [3, 6])
    same((tensor(3.0) - a)["x"], [2, 1])
    a.remove("only")
    plain = {"x": tensor([1.0, 1.0]), "y": tensor([[1.0]])}
    same((a + plain)["x"], [2, 3])
    same((plain - a)["x"], [0, -1])
    with pytest.raises(MismatchError, match="layer 'y'"):
        a + tensor([1.0, 2.0])
    with pytest.raises(TypeError):
        a + "text"


def test_in_place():
    a, b = two()
    first, held = a, a["x"]
    a += b
    assert a is first and list(a) == ["x", "y", "only"]  # names that b lacks are kept
    same(a["x"], [11, 22])
    same(held, [1, 2])  # a tensor that somebody holds is not written to
    a -= 1
    a *= 2
    a /= 4
    same(a["x"], [5, 10.5])


def test_computed_in_float32_and_rounded_once():
    a = StateDict({"x": tensor([1.0], "bfloat16")})
    b = StateDict({"x": tensor([1 / 512], "float32")})
    assert dtype_of((a + b)["x"]) == "float32"
    same((a + b)["x"], [1 + 1 / 512])
    assert dtype_of((a / 3)["x"]) == "bfloat16"
    same((a / 3)["x"], [0.333984375])
    assert dtype_of((a + StateDict({"x": tensor([1.0], "float16")}))["x"]) == "float32"
    assert dtype_of((StateDict({"x": tensor([1.0], "float64")}) + a)["x"]) == "float64"


def test_integers_as_torch_has_them():
    a = StateDict({"n": tensor([7, 8], "int64"), "x": tensor([1.0])})
    for result, values, dtype in (
        (a * 2, [14, 16], "int64"),
        (a + a, [14, 16], "int64"),
        (1 - a, [-6, -7], "int64"),
        (a * 0.5, [3.5, 4], "float32"),
        (a / a, [1, 1], "float32"),
    ):
        same(result["n"], values)
        assert dtype_of(result["n"]) == dtype
    half = StateDict(n=tensor([0.5, 0.25], "bfloat16"))
    assert dtype_of((a.subset("n") * half)["n"]) == "bfloat16"
    bools = StateDict(n=tensor([True, False], "bool"))
    with pytest.warns(MergeWarning, match="layer 'n': -: undefined for bool, left unchanged"):
        assert dtype_of((bools - bools)["n"]) == "bool"


def test_shapes_and_names_must_fit():
    a, _ = two()
    with pytest.raises(MismatchError,
                       match=r"layer 'x': shape \[2\] on the left of \+, \[1\] on the right"):
        a.subset("x") + {"x": tensor([1.0])}
    with pytest.raises(MismatchError, match="no name in common"):
        a + {"z": tensor([1.0])}
    with pytest.raises(ArgumentError, match="expected a tensor under 'x', found list"):
        a + {"x": [1.0, 2.0]}


def test_names():
    a, _ = two()
    assert list(a.subset(["y", "x"])) == ["y", "x"]
    with pytest.raises(KeyError, match="has no 'z'"):
        a.subset(["z"])
    same_one = a.filter_values(lambda value: array(value).max() < 5)
    assert same_one is a and list(a) == ["x", "y"]
    with pytest.raises(KeyError, match="has no 'nothing'"):
        a.remove(["y", "nothing"])
    assert a.remove(["y"]) is a and list(a) == ["x"]
    b = a.copy()
    b.remove(["x"])
    assert list(a) == ["x"]


def test_it_is_a_dict(parents):
    sd = StateDict.from_hf(parents[0])
    assert isinstance(sd, dict) and len(sd) == len(list(sd))
    name = list(sd)[3]
    assert name in sd and sd.get("nothing") is None and sd.get(name) is sd[name]
    for plain in (dict(sd), {**sd}, dict(sd.items()), copy.copy(sd), copy.deepcopy(sd),
                  pickle.loads(pickle.dumps(sd))):
        assert list(plain) == list(sd)
        assert all(type(value).__name__ in ("Tensor", "ndarray") for value in plain.values())
    other = StateDict.from_hf(parents[0])
    assert other == sd
    last = list(other)[-1]
    assert other.popitem()[0] == last and last not in other and other != sd
    assert array(other.pop(name)).shape == array(sd[name]).shape and other.pop(name, 5) == 5
    with pytest.raises(KeyError):
        other.pop(name)
    assert "float" in repr(sd) and "73 in all" in repr(sd)


def digest(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(folder).iterdir()}


def test_writing_to_a_tensor_never_reaches_the_file(parents):
    for folder in parents:
        before = digest(folder)
        sd = StateDict.from_hf(folder)
        for name in sd:
            sd[name][...] = 0
        assert all((array(value) == 0).all() for value in sd.values())
        assert digest(folder) == before
        assert any((array(value) != 0).any() for value in StateDict.from_hf(folder).values())


def test_tensors_are_views_of_the_file(parents):
    sd = StateDict.from_hf(parents[0])
    large = max(sd, key=lambda name: sd[name].nbytes)
    mapped = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "rte-1" in line:
            low, high = (int(text, 16) for text in line.split()[0].split("-"))
            mapped[low] = high
    address = sd[large].data_ptr() if HAS_TORCH else sd[large].ctypes.data
    assert any(low <= address < high for low, high in mapped.items())


def test_views_outlive_everything(parents):
    values = [StateDict.from_hf(folder)["classifier.bias"] for folder in parents]
    assert all(numpy.isfinite(array(value)).all() for value in values)


def test_zeros_like(parents):
    for what in (parents[0], StateDict.from_hf(parents[0])):
        zeros = StateDict.zeros_like(what)
        assert len(zeros) == 73 and not any(array(value).any() for value in zeros.values())


def test_save(tmp_path, parents):
    sd = StateDict.from_hf(parents[1])
    sd["half"] = tensor([1.5, -2.5], "bfloat16")
    sd["number"] = tensor(3, "int64")
    sd["empty"] = tensor([], "float32")
    sd.save(tmp_path / "folder")
    sd.save(tmp_path / "file.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.safetensors", "folder"]
    for path in (tmp_path / "folder", tmp_path / "file.safetensors"):
        again = StateDict.from_hf(path)
        assert again == sd
        with pytest.raises(ExistsError, match="overwrite"):
            sd.save(path)
    (sd * 2).save(tmp_path / "file.safetensors", overwrite=True)
    same(StateDict.from_hf(tmp_path / "file.safetensors")["half"], [3, -5])
    with pytest.raises(NotFoundError):
        sd.save(tmp_path / "nowhere" / "file.safetensors")


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        StateDict.from_hf(tmp_path / "nothing-here")
    (tmp_path / "x.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="x.safetensors"):
        StateDict.from_hf(tmp_path / "x.safetensors")


def test_to_model_of_a_dict():
    a, b = two()
    with pytest.warns(MergeWarning, match="1 tensor is left as in the dict: only"):
        made = b.to_model(a)
    with pytest.raises(MismatchError, match="left as in the dict: only .strict"):
        b.to_model(a, strict=True)
    assert list(made) == list(a)
    same(made["x"], [10, 20])
    same(made["only"], [9])


def test_to_device():
    a, _ = two()
    same(a.to("cpu")["x"], [1, 2])
    if not HAS_TORCH:
        with pytest.raises(ValueError, match="need torch"):
            a.to("cuda")


def test_strided_and_odd_dtypes(tmp_path):
    big = numpy.arange(6, dtype=">f4").reshape(2, 3)
    sd = StateDict({"t": big.T, "s": numpy.arange(10, dtype=numpy.float64)[::2],
                    "b": numpy.array([True, False])})
    sd.save(tmp_path / "f.safetensors")
    again = StateDict.from_hf(tmp_path / "f.safetensors")
    same(again["t"], big.T)
    same(again["s"], [0, 2, 4, 6, 8])
    assert array(again["b"]).tolist() == [1, 0]
    with pytest.raises(ArgumentError, match="layer 'o'.*dtype"):
        StateDict({"o": numpy.array(["text"])}).save(tmp_path / "g.safetensors")


@needs_torch
def test_of_modules():
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    module[0].bias.requires_grad_(False)
    sd = StateDict.from_model(module)
    # frozen ones too; no buffers
    assert list(sd) == [name for name, _ in module.named_parameters()]
    assert sd["0.weight"].data_ptr() == module[0].weight.data_ptr() and not sd[
        "0.weight"].requires_grad
    made = (sd * 0).to_model(module)
    assert made is not module and not made[0].weight.any() and module[0].weight.any()
    assert not made[0].bias.requires_grad and made[0].weight.requires_grad
    same((sd - module)["0.weight"], numpy.zeros((3, 2)))
    same((module - sd)["0.weight"], numpy.zeros((3, 2)))
    with pytest.raises(ArgumentError, match="expected a torch.nn.Module"):
        StateDict.from_model(5)
    with pytest.raises(MismatchError, match="layer '0.weight'.*expected shape"):
        StateDict({"0.weight": torch.zeros(1)}).to_model(module)


@needs_torch
def test_of_tied_modules():
    import torch

    module = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2, bias=False),
                                  "b": torch.nn.Linear(2, 2, bias=False)})
    module["b"].weight = module["a"].weight
    assert list(StateDict.from_model(module)) == ["a.weight"]
    made = (StateDict.from_model(module) * 2).to_model(module)
    assert made["a"].weight is made["b"].weight


def test_checkpoint_of_the_tests(tmp_path):
    path = checkpoint(tmp_path, "m", {"x": tensor([1.0])})
    same(StateDict.from_hf(path)["x"], [1])


def test_operands_of_numpy():
    """Scalars, and arrays of any order, strides and dtype, whatever the tensors are."""
    sd = StateDict(x=tensor([1.0, 2.0]), n=tensor([7], "int64"))
    import ml_dtypes

    for two in (2, 2.0, numpy.float32(2), numpy.float64(2), numpy.int64(2), numpy.array(2.0),
                ml_dtypes.bfloat16(2)):
        same((sd * two)["x"], [2, 4])
        same((two - sd)["x"], [1, 0])
        assert dtype_of((sd * two)["x"]) == "float32"
    for array_of_two in (
        numpy.array([4.0, 3.0], ">f4")[::-1],
        numpy.array([3.0, 4.0], ml_dtypes.bfloat16),
        numpy.array([3.0, 9.0, 4.0], "f2")[::2],
    ):
        array_of_two.setflags(write=False)
        same((StateDict(x=sd["x"]) + array_of_two)["x"], [4, 6])
        same((sd.subset("x") + {"x": array_of_two})["x"], [4, 6])
        same((StateDict(x=array_of_two) + {"x": tensor([1.0, 2.0], "bfloat16")})["x"], [4, 6])
        assert StateDict(x=array_of_two) == StateDict(x=array_of_two.copy())


def test_operands_that_cannot_be():
    sd = StateDict(x=tensor([1.0, 2.0]))
    for bad in (tensor([1.0, 2.0, 3.0]), tensor([[1.0, 2.0]]), numpy.ones((3, 1), "f4")):
        with pytest.raises(MismatchError,
                           match=r"layer 'x': \*: expected a number or a tensor for shape \[2\], "
                                 r"found one of"):
            sd * bad
    for bad in (numpy.complex64(1j), tensor([1j, 1j], "complex64")):
        with pytest.raises(ArgumentError,
                           match="expected a real number or tensor, found one of complex64"):
            sd * bad
    with pytest.raises(MismatchError,
                       match=r"layer 'x': shape \[1\] on the left of -, \[2\] on the right"):
        {"x": tensor([1.0])} - sd
    with pytest.raises(MismatchError,
                       match=r"layer 'x': shape \[2\] on the left of -, \[1\] on the right"):
        sd - {"x": tensor([1.0])}
    before = dict(sd)
    with pytest.raises(MismatchError):
        sd += tensor([1.0, 2.0, 3.0])
    assert sd["x"] is before["x"]


def test_entries_that_are_no_tensors(tmp_path):
    """Other frameworks keep such in their state dicts."""
    odd = StateDict(x=tensor([1.0]), extra={"a": 1})
    assert repr(odd) == "StateDict(x: float32 [1], extra: dict)"
    assert len(odd.copy()) == 2 and odd == odd.copy() and odd != StateDict(x=tensor([1.0]))
    for use in (lambda: odd + 1, lambda: odd * odd, lambda: odd.save(tmp_path / "out"),
                lambda: -odd):
        with pytest.raises(ArgumentError, match="layer 'extra': expected a tensor, found dict"):
            use()
    assert not any(tmp_path.iterdir())
    same((odd.remove("extra") + 1)["x"], [2])


def test_the_union_of_dicts(parents):
    sd = StateDict(x=tensor([1.0]), y=tensor([2.0]))
    for union in (sd | {"y": tensor([3.0])},
                  StateDict(x=tensor([1.0])) | StateDict(y=tensor([3.0]))):
        assert isinstance(union, StateDict) and list(union) == ["x", "y"]
        same(union["y"], [3])
    union = {"z": tensor([5.0])} | sd
    assert isinstance(union, StateDict) and list(union) == ["z", "x", "y"]
    with pytest.raises(TypeError):
        sd | 5
    assert (StateDict.from_hf(parents[0]) | {}) == StateDict.from_hf(parents[0])


def test_names_that_files_cannot_hold(tmp_path):
    one = tensor([1.0])
    for name, error in ((5, ArgumentError), ("a\0b", UsageError), ("\ud800", UsageError),
                        ("__metadata__", UnsupportedError)):
        for target in ("out", "out.safetensors"):
            with pytest.raises(error):
                StateDict({name: one}).save(tmp_path / target)
    assert not any(tmp_path.iterdir())
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ExistsError, match="expected a file, found a folder"):
        StateDict(x=one).save(tmp_path / "folder.safetensors", overwrite=True)
    with pytest.raises(ArgumentError, match="expected a path, found int"):
        StateDict(x=one).save(5)
    with pytest.raises(ArgumentError, match="from_hf: expected a path, found NoneType"):
        StateDict.from_hf(None)


def test_to_model_looks_at_shapes(parents):
    given = {"x": tensor([0.0, 0.0]), "y": tensor([1.0])}
    with pytest.raises(MismatchError,
                       match=r"layer 'x': expected shape \[2\] as the dict has it, found \[1\]"):
        StateDict(x=tensor([1.0])).to_model(given)
    bad = StateDict({"classifier.bias": tensor([1.0])})
    for model in (parents[0], mergecraft.Pipeline(parents[0])):
        with pytest.raises(MismatchError,
                           match=r"layer 'classifier.bias': expected shape \[2\] as .* has it, "
                                 r"found \[1\]"):
            bad.to_model(model)
        with pytest.raises(MismatchError, match="has none of the state dict's names"):
            StateDict(x=tensor([1.0])).to_model(model)
