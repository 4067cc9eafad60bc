"""mergecraft.lora, without PEFT: adapters of tests/data/adapters. With PEFT: tests/real/lora.py."""

import pathlib

import numpy
import pytest

import mergecraft
import mergecraft.lora

DATA = pathlib.Path(__file__).parent.parent / "data" / "adapters"


def array(tensor):
    return numpy.asarray(tensor, dtype=numpy.float64)


def test_bake_is_what_peft_merges():
    baked = mergecraft.lora.bake(DATA / "plain" / "adapter", DATA / "plain" / "base")
    expected = mergecraft.StateDict.from_hf(str(DATA / "plain" / "merged.safetensors"))
    assert set(baked) == set(expected)
    for name in expected:
        numpy.testing.assert_allclose(array(baked[name]), array(expected[name]), atol=2e-6)


def test_merge_and_save(tmp_path):
    adapter = DATA / "plain" / "adapter"
    merged = mergecraft.lora.merge("cat", [adapter, adapter], weights=[0.5, 0.5])
    assert merged.config["r"] == 4 and merged.config["lora_alpha"] == 4
    merged.save(tmp_path / "lora")
    again = mergecraft.lora.bake(tmp_path / "lora", DATA / "plain" / "base")
    once = mergecraft.lora.bake(adapter, DATA / "plain" / "base")
    for name in once:
        numpy.testing.assert_allclose(array(again[name]), array(once[name]), atol=2e-6)


def test_extract_is_the_difference():
    tuned = {"a.weight": numpy.outer([1.0, 2.0], [3.0, 4.0, 5.0]).astype("float32")}
    base = {"a.weight": numpy.zeros((2, 3), "float32")}
    adapter = mergecraft.lora.extract(tuned, base, rank=1)
    tensors = {name: array(tensor) for name, tensor in adapter.tensors.items()}
    a = tensors["base_model.model.a.lora_A.weight"]
    b = tensors["base_model.model.a.lora_B.weight"]
    numpy.testing.assert_allclose(b @ a, tuned["a.weight"], atol=1e-5)


def test_errors():
    with pytest.raises(mergecraft.UsageError, match="did you mean 'svd'"):
        mergecraft.lora.merge("sv", [DATA / "plain" / "adapter"])
    with pytest.raises(mergecraft.ArgumentError, match="adapters"):
        mergecraft.lora.merge("svd", [3])
