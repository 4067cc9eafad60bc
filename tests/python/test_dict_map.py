"""dict_map: one function on one layer, called for every name that all dicts have."""

from __future__ import annotations

import pytest
from conftest import array, dtype_of, needs_torch, same, tensor

import mergecraft
from mergecraft import ArgumentError, MergeWarning, MismatchError, StateDict, UsageError, dict_map


def dicts():
    return [{"x": tensor([1.0, 2.0]), "y": tensor([3.0])},
            StateDict({"y": tensor([5.0]), "x": tensor([3.0, 4.0])})]


def mean(models):
    return sum(models) / len(models)


def test_the_three_spellings():
    for decorate in (dict_map, dict_map(), dict_map(["models"]), dict_map("models")):
        result = decorate(mean)(dicts())
        assert isinstance(result, StateDict) and list(result) == ["x", "y"]
        same(result["x"], [2, 3])
        same(result["y"], [4])


def test_several_lists():
    @dict_map(["models", "hessians"])
    def weighted(models, hessians, scale=1.0):
        return scale * sum(m * h for m, h in zip(models, hessians)) / sum(hessians)

    hessians = [{"x": tensor([1.0, 1.0]), "z": tensor([1.0])}, {"x": tensor([3.0, 0.0])}]
    with pytest.warns(MergeWarning,
                      match="2 tensors are not in all state dicts and left out: y, z"):
        result = weighted(dicts(), hessians)
    assert list(result) == ["x"]
    same(result["x"], [2.5, 2])
    with pytest.warns(MergeWarning):
        same(weighted(dicts(), hessians=hessians, scale=2)["x"], [5, 4])
    with pytest.raises(MismatchError, match="strict"):
        weighted(dicts(), hessians, strict=True)
    with pytest.raises(UsageError, match="expected lists of one length"):
        weighted(dicts(), hessians[:1])
    with pytest.raises(ArgumentError, match="misses the argument 'hessians'"):
        weighted(dicts())


def test_layer_name_and_keywords_only_where_they_are_accepted():
    seen = []

    @dict_map
    def with_name(models, layer_name, task=None):
        seen.append((layer_name, task))
        return models[0]

    @dict_map
    def with_any(models, **kw):
        seen.append(kw)
        return models[0]

    with_name(dicts(), task="text-classification")
    with_any(dicts(), task="t", own=1)
    dict_map(mean)(dicts(), task="text-classification", verbose=False)  # takes neither
    assert seen[:2] == [("x", "text-classification"), ("y", "text-classification")]
    assert seen[2] == {"task": "t", "own": 1, "layer_name": "x"}
    with pytest.raises(ArgumentError,
                       match=r"mean\(\) got an unexpected keyword argument 'wieghts'"):
        dict_map(mean)(dicts(), wieghts=1)
    with pytest.raises(TypeError, match="did you mean 'weights'"):
        dict_map(lambda models, weights=None: models[0])(dicts(), wieghts=1)


def test_inputs_never_change():
    given = dicts()

    @dict_map
    def greedy(models):
        models[0] *= 100
        return models[0]

    same(greedy(given)["x"], [100, 200])
    same(given[0]["x"], [1, 2])
    models = [StateDict(given[0]), given[1]]
    greedy(models)
    same(models[0]["x"], [1, 2])


def test_floats_come_as_float32_and_go_back():
    found = []

    @dict_map
    def look(models):
        found.append({dtype_of(model) for model in models})
        return models[0] / 3

    half = [{"x": tensor([1.0], "bfloat16")}, {"x": tensor([1.0], "bfloat16")}]
    result = look(half)["x"]
    assert dtype_of(result) == "bfloat16"
    same(result, [0.333984375])
    mixed = look([{"x": tensor([1.0], "float16")}, {"x": tensor([1.0], "bfloat16")}])["x"]
    assert dtype_of(mixed) == "float32"
    assert dtype_of(look([{"x": tensor([1.0], "float64")}] * 2)["x"]) == "float64"
    assert found == [{"float32"}, {"float32"}, {"float64"}]


def test_a_result_may_have_another_shape_or_kind():
    assert dict_map(lambda models: models[0].sum())(dicts())["x"].shape == ()
    assert dtype_of(dict_map(lambda models: models[0] > 1)(dicts())["x"]) == "bool"


def test_errors():
    with pytest.raises(MismatchError, match="no name in common"):
        dict_map(mean)([{"x": tensor([1.0])}, {"y": tensor([1.0])}])
    with pytest.raises(MismatchError,
                       match=r"layer 'x': shape \[1\] in models\[0\], \[2\] in models\[1\]"):
        dict_map(mean)([{"x": tensor([1.0])}, {"x": tensor([1.0, 2.0])}])
    with pytest.raises(UsageError, match="found an empty list"):
        dict_map(mean)([])
    with pytest.raises(ArgumentError, match="expected a list of state dicts, found dict"):
        dict_map(mean)({"x": tensor([1.0])})
    with pytest.raises(ArgumentError,
                       match="models\\[1\\]: expected a module, a dict, or a checkpoint's name, "
                             "found int"):
        dict_map(mean)([{"x": tensor([1.0])}, 5])
    with pytest.raises(ArgumentError, match="layer 'x': expected a value, found None"):
        dict_map(lambda models: None)(dicts())
    with pytest.raises(ArgumentError, match="expected a parameter for the list"):
        dict_map(lambda: None)
    with pytest.raises(ArgumentError, match="'nothing'"):
        dict_map(["nothing"])(mean)
    with pytest.raises(ZeroDivisionError):
        dict_map(lambda models: 1 / 0)(dicts())


@needs_torch
def test_a_named_tuple_gets_a_hint():
    import torch

    with pytest.raises(ArgumentError, match="take .values"):
        mergecraft.layer_merge(lambda models: torch.median(torch.stack(models), dim=0))(dicts())


def test_results_that_are_no_tensors():
    assert dict_map(lambda models: 0.5)(dicts()) == {"x": 0.5, "y": 0.5}
    found = dict_map(lambda models: (len(models), "text"))(dicts())
    assert isinstance(found, mergecraft.StateDict) and found["x"] == (2, "text")


def test_further_lists_hold_anything():
    @dict_map(func_or_names=["models", "weights"])
    def weighted(models, weights):
        return sum(w * m for w, m in zip(weights, models))

    models = dicts()
    halves = [dict.fromkeys(models[0], 0.5)] * 2
    expected = dict_map(lambda models: sum(models) / 2)(models)
    found = weighted(models, weights=halves)
    for name in expected:
        same(found[name], array(expected[name]))

    @dict_map(["models", "grams"])
    def shapes(models, grams):
        return [tuple(gram.shape) for gram in grams]

    grams = [{name: tensor([[1.0, 0.0], [0.0, 1.0]]) for name in models[0]}] * 2
    assert shapes(models, grams)["x"] == [(2, 2), (2, 2)]


def test_it_keeps_the_name():
    assert dict_map(mean).__name__ == "mean" and mergecraft.layer_merge(mean).__name__ == "mean"
