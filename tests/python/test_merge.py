"""model_merge and layer_merge: functions of Python's on ids, folders and dicts; what goes in and
comes out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy
import pytest
from conftest import HAS_TRANSFORMERS, array, checkpoint, dtype_of, median_of, same, tensor

import mergecraft
from mergecraft import (
    ArgumentError,
    ExistsError,
    MergeWarning,
    MismatchError,
    NotFoundError,
    StateDict,
    UsageError,
    dict_map,
    layer_merge,
    model_merge,
)


def middle(models):
    """The median, by sorting: an array or tensor whichever it gets."""
    if isinstance(models[0], numpy.ndarray):
        return numpy.sort(numpy.stack(models), axis=0)[(len(models) - 1) // 2]
    import torch

    return torch.median(torch.stack(models), dim=0).values


@layer_merge
def median(models):
    """The middle one."""
    return middle(models)


@dict_map
def median_of_layers(models, **kw):
    return middle(models)


@model_merge
def median_in_two_steps(models, **kw):
    assert all(isinstance(model, StateDict) for model in models)
    return median_of_layers(models)


def weights(folder):
    return StateDict.from_hf(folder)


@pytest.fixture
def dicts():
    return [{"x": tensor([1.0, 2.0]), "head": tensor([3.0])},
            {"x": tensor([3.0, 6.0]), "head": tensor([5.0])}]


def test_to_a_folder(tmp_path, parents):
    expected = {name: median_of([weights(p)[name] for p in parents])
                for name in weights(parents[0])}
    for i, merge in enumerate((median, median_in_two_steps, mergecraft.median)):
        out = tmp_path / str(i)
        assert merge.to_folder(parents, out) == str(out)
        found = weights(out)
        assert sorted(found) == sorted(expected)
        for name in found:
            same(found[name], expected[name])
        assert {"config.json", "README.md", "mergecraft.json", "vocab.txt"} <= {p.name
                for p in out.iterdir()}
    story = json.loads((tmp_path / "0" / "mergecraft.json").read_text())
    assert story["method"] == "median" and story["family"] == "python"
    assert "return middle(models)" in story["source"]["text"] and story["source"]["file"].endswith(
        "test_merge.py")
    assert "by the method `median` (The middle one.)" in (tmp_path / "0" / "README.md").read_text()
    with pytest.raises(ExistsError):
        median(parents, out=tmp_path / "0")
    median(parents[:1], out=tmp_path / "0", overwrite=True, sync=False)
    same(weights(tmp_path / "0")["classifier.bias"], array(weights(parents[0])["classifier.bias"]))


def test_one_layer_at_a_time(tmp_path, parents):
    alive, most = [], 0
    import weakref

    @layer_merge
    def watch(models):
        nonlocal most
        alive.extend(weakref.ref(model) for model in models)
        most = max(most, sum(ref() is not None for ref in alive))
        return models[0] + 0

    watch.to_folder(parents, tmp_path / "out")
    assert most == len(parents) and len(alive) == 73 * len(parents)


def test_dicts_in_dict_out(dicts):
    result = median(dicts)
    assert isinstance(result, StateDict)
    same(result["x"], [1, 2])
    same(mergecraft.soup(dicts)["x"], [2, 4])
    same(dicts[0]["x"], [1, 2])


def test_passthrough(dicts):
    for keywords in (
        {"passthrough_layers": ["head"]},
        {"passthrough": "head"},
        {"passthrough": ["he*"]},
        {"passthrough_layers": "head", "passthrough": ["head"]},
    ):
        result = median(dicts, **keywords)
        same(result["head"], [4])
        same(result["x"], [1, 2])
    with pytest.raises(TypeError, match="did you mean 'passthrough'"):
        median(dicts, passthru=["head"])
    with pytest.raises(ArgumentError, match="passthrough: expected names of layers, found int"):
        median(dicts, passthrough=[5])


def test_the_base(dicts):
    base = {"x": tensor([10.0, 10.0])}

    @model_merge
    def in_list(models, base_index=0, **kw):
        return StateDict({"x": models[base_index]["x"] + sum(m["x"] for i, m in enumerate(models)
                                                             if i != base_index)})

    @layer_merge
    def as_argument(models, base_model):
        return base_model + sum(models)

    def without(models):
        return sum(models)

    with pytest.warns(MergeWarning,
                      match="1 tensor is not in the base and averaged over the models: head"):
        result = in_list([base, *dicts])
    same(result["x"], [14, 18])
    same(result["head"], [4])
    for merge, models, keywords in (
        (in_list, [dicts[0], base, dicts[1]], {"base_index": 1}),
        (in_list, [*dicts, base], {"base_index": -1}),
        (in_list, dicts, {"base_model": base}),
        (as_argument, dicts, {"base_model": base}),
        (as_argument, [base, *dicts], {"base_index": 0}),
    ):
        with pytest.warns(MergeWarning, match="not in the base"):
            same(merge(models, **keywords)["x"], [14, 18])
    with pytest.warns(MergeWarning, match="without uses no base model: the base was not used"):
        same(layer_merge(without)(dicts, base_model=base)["x"], [4, 8])
    with pytest.raises(UsageError, match="from -2 to 1, found 5"):
        in_list(dicts, base_index=5)
    with pytest.raises(UsageError, match="found both"):
        in_list(dicts, base_index=0, base_model=base)


def test_the_layer_of_the_base_beside_two_lists():
    @model_merge
    @dict_map(["models", "hessians"])
    def weighted(models, hessians, base_model):
        return base_model + sum(m * h for m, h in zip(models, hessians))

    models, hessians = [{"x": tensor([v])} for v in (1.0, 2.0)], [{"x": tensor([v])}
            for v in (10.0, 100.0)]
    same(weighted(models, hessians, base_model={"x": tensor([5.0])})["x"], [215])
    same(weighted([{"x": tensor([5.0])}, *models], hessians=hessians, base_index=0)["x"], [215])


def test_errors_are_those_of_the_system_too(tmp_path):
    import errno

    with pytest.raises(FileNotFoundError) as found:
        StateDict.from_hf(tmp_path / "nothing")
    assert found.value.errno == errno.ENOENT and found.value.filename == found.value.file == str(
        tmp_path / "nothing")
    with pytest.raises(FileExistsError) as found:
        median([{"x": tensor([1.0])}], out=tmp_path)
    assert found.value.errno == errno.EEXIST and found.value.filename == str(tmp_path)


def test_the_base_is_not_counted_in_passthrough():
    models = [{"x": tensor([v]), "head": tensor([v])} for v in (100.0, 1.0, 3.0)]
    same(mergecraft.task(models, passthrough="head")["head"], [2])
    same(mergecraft.task(models, 0, passthrough="head")["x"], [2])
    same(mergecraft.task(models, base_index=-3)["x"], [2])


def test_keywords_reach_functions_that_accept_them(dicts):
    seen = {}

    @model_merge
    def look(models, factor, task=None, **kw):
        seen.update(kw, factor=factor, task=task)
        return models[0]

    look(dicts, 5, task="t", own=1, passthrough="head", verbose=False)
    assert seen == {"factor": 5, "task": "t", "own": 1}
    median(dicts, task="text-classification")
    with pytest.raises(TypeError):
        look(dicts)


def test_inputs_never_change(dicts, parents):
    @model_merge
    def greedy(models):
        for model in models:
            for name in model:
                model[name] *= 0
        return models[0]

    same(greedy(dicts)["x"], [0, 0])
    same(dicts[0]["x"], [1, 2])
    result = greedy([weights(p) for p in parents])
    assert not any(array(value).any() for value in result.values())
    assert array(weights(parents[0])["classifier.weight"]).any()


def test_the_result_is_its_own(dicts):
    @model_merge
    def first(models):
        return models[0]

    result = first(dicts)
    result["x"][...] = 7
    same(dicts[0]["x"], [1, 2])
    numbers = tensor([1, 2], "int64")
    with pytest.warns(MergeWarning,
                      match="1 tensor is not floats and copied from the last model: n"):
        copied = median([{**d, "n": numbers} for d in dicts], passthrough="*ead")
    copied["n"][...] = 7
    same(numbers, [1, 2])


def test_results_go_back_to_the_dtype(tmp_path):
    @layer_merge
    def third(models):
        assert {dtype_of(model) for model in models} == {"float32"}
        return sum(models) / 3

    half = [{"x": tensor([1.0], "bfloat16")}, {"x": tensor([0.0], "bfloat16")}]
    result = third(half)["x"]
    assert dtype_of(result) == "bfloat16"
    same(result, [0.333984375])
    third.to_folder(half, tmp_path / "out")
    assert dtype_of(weights(tmp_path / "out")["x"]) == "bfloat16"
    assert dtype_of(third(half, dtype="float16")["x"]) == "float16"
    assert dtype_of(third([half[0], {"x": tensor([0.0], "float16")}])["x"]) == "float32"


def test_names_that_some_lack():
    models = [{"x": tensor([1.0]), "a": tensor([1.0])}, {"x": tensor([3.0]), "b": tensor([2.0])}]
    warning = "2 tensors are only in some of the models and averaged over those: a, b"
    with pytest.warns(MergeWarning, match=warning):
        result = median(models)
    assert list(result) == ["x", "a", "b"]
    with pytest.raises(MismatchError, match="strict"):
        median(models, strict=True)


def test_new_and_left_out_names(dicts):
    @model_merge
    def change(models):
        return {"x": models[0]["x"], "new": tensor([[1.0]])}

    with pytest.warns(MergeWarning, match=r"change\(\): 1 tensor is not in its result: head"):
        assert list(change(dicts)) == ["x", "new"]
    with pytest.raises(MismatchError, match="strict"):
        change(dicts, strict=True)


# ---- bad arguments
# --------------------------------------------------------------------------------------


def test_bad_models(dicts, parents, tmp_path):
    with pytest.raises(UsageError, match="expected models to merge, found an empty list"):
        median([])
    with pytest.raises(ArgumentError,
                       match=r"models\[0\] \('.*rte-1'\): expected the last model's kind \(dict\), "
                             r"found another \(id or path\)"):
        median([parents[0], dicts[0]])
    with pytest.raises(ArgumentError,
                       match=r"models\[1\]: expected an id, a path, a module, a pipeline or a "
                             r"dict, found int"):
        median([parents[0], 5])
    with pytest.raises(ArgumentError, match="expected a list of models, found one id or path"):
        median(parents[0])
    with pytest.raises(ArgumentError, match="expected a list of models, found one dict"):
        median(dicts[0])
    with pytest.raises(UsageError,
                       match=r"models\[1\] \(dict\): expected tensors, found a model without "
                             r"weights"):
        median([dicts[0], {}])
    with pytest.raises(NotFoundError, match="nothing-here"):
        median([parents[0], str(tmp_path / "nothing-here")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        median([parents[0], tmp_path / "empty"])


def test_models_that_do_not_fit(dicts, tmp_path):
    with pytest.raises(MismatchError, match="'x'.*\\[2\\].*\\[1\\]"):
        median([dicts[0], {"x": tensor([1.0]), "head": tensor([1.0])}])
    with pytest.raises(MismatchError, match="no tensor name in common"):
        median([dicts[0], {"z": tensor([1.0])}])
    named = [checkpoint(tmp_path, "a", {"x": tensor([1.0])}),
             checkpoint(tmp_path, "b", {"x": tensor([1.0, 2.0])})]
    with pytest.raises(MismatchError, match="/a.*/b"):
        median(named, out=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("merge", [median, median_in_two_steps, mergecraft.soup])
def test_bad_keywords(dicts, tmp_path, merge):
    for keywords, error, text in (
        ({"dtype": "int8"}, UsageError,
         "dtype: expected one of floats, as 'f32' or 'bf16', found 'int8'"),
        ({"dtype": "complex64"}, UsageError, "dtype: expected one of floats"),
        ({"dtype": "float4_e2m1fn_x2"}, UsageError, "dtype: expected one of floats"),
        ({"dtype": numpy.int32}, UsageError, "dtype: expected one of floats"),
        ({"dtype": "what"}, UsageError, "dtype: expected one of floats"),
        ({"seed": "a"}, ArgumentError, "seed: expected a whole number, found 'a'"),
        ({"seed": 1.5}, ArgumentError, "seed: expected a whole number, found 1.5"),
        ({"seed": 2**64}, UsageError,
         "seed: expected a whole number from -9223372036854775808 to 18446744073709551615"),
        ({"threads": "2"}, ArgumentError, "threads: expected a whole number, found '2'"),
        ({"threads": -1}, UsageError,
         "threads: expected a whole number from 0 to 2147483647, found -1"),
        ({"memory": "1GB"}, ArgumentError, "memory: expected a whole number, found '1GB'"),
        ({"memory": 1e9}, ArgumentError, "memory: expected a whole number"),
        ({"shard_size": "5GB", "out": tmp_path / "out"}, ArgumentError,
         "shard_size: expected a whole number"),
        ({"shard_size": 5}, UsageError, "shard_size: expected out='FOLDER' with it"),
        ({"out": 5}, ArgumentError, "out: expected a path, found int"),
        ({"base_index": 1.0}, UsageError,
         "base_index: expected a whole number from -2 to 1, found 1.0"),
    ):
        with pytest.raises(error, match=text):
            merge(dicts, **keywords)
    assert not any(tmp_path.iterdir())
    for keywords in ({"seed": numpy.int64(3)}, {"seed": -1}, {"threads": numpy.int32(1)},
                     {"memory": None}):
        same(merge(dicts, **keywords)["x"], [2, 4] if merge is mergecraft.soup else [1, 2])
    for dtype in ("f16", "float16", numpy.float16, numpy.dtype("f2")):
        assert dtype_of(merge(dicts, dtype=dtype)["x"]) == "float16"


def test_the_library_refuses_dtypes_that_are_no_floats(dicts):
    soup = next(method for method in mergecraft._core.methods() if method.name == "soup")
    models = [mergecraft._core.wrap_model("m", StateDict(d)._core(), None, None) for d in dicts]
    with pytest.raises(UsageError, match="expected a dtype of floats for the result, found I8"):
        mergecraft._core.Plan(soup, models, None, [], [], 0, False, "int8", None, None)


@pytest.mark.parametrize("merge", [median, median_in_two_steps, mergecraft.soup])
def test_bad_names_and_values(tmp_path, merge):
    one = tensor([1.0])
    for bad, error, text in (
        ({1: one}, ArgumentError, r"models\[1\]: expected names of layers as text, found 1"),
        ({"a\0b": one}, UsageError,
         r"models\[1\]: expected names of layers as text in UTF-8 without zeros"),
        ({"a\ud800": one}, UsageError, r"models\[1\]: expected names of layers as text in UTF-8"),
        ({"x": [1.0]}, ArgumentError,
         "x.*expected a tensor|expected a tensor under 'x', found list"),
        (StateDict(x=[1.0]), ArgumentError,
         r"models\[1\]: layer 'x': expected a tensor, found list"),
        (StateDict(x=None), ArgumentError,
         r"models\[1\]: layer 'x': expected a tensor, found NoneType"),
        ({"x": numpy.array(["a"])}, ArgumentError, r"models\[1\]: layer 'x': unknown dtype"),
    ):
        with pytest.raises(error, match=text):
            merge([{"x": one}, bad])
    with pytest.raises(ValueError,
                       match="tensor '__metadata__': safetensors has no room for a tensor of this "
                             "name"):
        merge([{"__metadata__": one, "x": one}] * 2, out=tmp_path / "out")
    numbers = {"x": tensor([1], "int64")}
    with pytest.raises(MismatchError, match="the models have no tensor of floats in common"):
        merge([numbers, numbers])
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_for_the_function(dicts):
    called = []
    merge = model_merge(lambda models: called.append(models))
    same(merge(dicts, passthrough="*")["x"], [2, 4])
    assert not called


def test_warnings_tell_the_callers_line(dicts, tmp_path):
    models = [{**d, "n": tensor([1], "int64")} for d in dicts]
    odd = [dicts[0], {"x": dicts[1]["x"]}]
    for merge in (
        lambda: median(models),
        lambda: mergecraft.soup(models),
        lambda: mergecraft.soup.to_folder(models, tmp_path / "out"),
        lambda: dict_map(middle)(odd),
    ):
        with pytest.warns(MergeWarning) as found:
            merge()
        assert {warning.filename for warning in found} == {__file__}


def test_what_exists_is_said_in_words_of_python(dicts, tmp_path):
    with pytest.raises(ExistsError, match="exists already \\(overwrite=True replaces it\\)"):
        median(dicts, out=tmp_path)




@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_bad_results(dicts, tmp_path, folder, whole):
    def decorated(function):
        if not whole:
            return layer_merge(function)
        return model_merge(lambda models: {n: function([m[n] for m in models]) for n in models[0]})

    out = {"out": tmp_path / "out"} if folder else {}
    for function, error, text in (
        (lambda models: models[0][:1], MismatchError,
         r"layer 'x': expected shape \[2\] as in the models, found \[1\]"),
        (lambda models: 5, ArgumentError, "layer 'x': expected a tensor, found int"),
        (lambda models: models[0] > 0, ArgumentError,
         "layer 'x': expected a float tensor, found one of bool"),
        (lambda models: 1 / 0, ZeroDivisionError, "division by zero"),
    ):
        with pytest.raises(error, match=text):
            decorated(function)(dicts, **out)
    assert not any(tmp_path.iterdir())


def test_a_result_that_is_no_dict(dicts):
    with pytest.raises(ArgumentError, match="expected a StateDict as its result, found NoneType"):
        model_merge(lambda models: None)(dicts)


def test_ids_without_what_a_pipeline_needs(tmp_path, parents):
    files = [str(Path(parents[0]) / "model.safetensors")] * 2
    lone = tmp_path / "lone.safetensors"
    weights(parents[0]).save(lone)
    with pytest.raises(ValueError, match="out='FOLDER'"):
        median([str(lone)] * 2)
    assert len(weights(median(files, out=tmp_path / "out"))) == 73


def test_no_warning_for_models_that_fit(parents, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        median(parents, out=tmp_path / "out")


@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="transformers is not installed")
def test_tasks(parents):
    with pytest.raises(UsageError,
                       match="task: expected one of .*text-classification.*, found 'nothing'"):
        median(parents, task="nothing")


# ---- heads of different sizes -------------------------------------------------------------------


def heads():
    return [
        {"x": tensor([1.0]), "head.weight": tensor([1.0, 2.0])},
        {"x": tensor([3.0]), "head.weight": tensor([4.0, 5.0, 6.0])},
    ]


@pytest.mark.parametrize("merge", [median, median_in_two_steps, mergecraft.soup])
def test_excluded_layers_are_those_of_one_model(merge):
    models = heads()
    x = 2 if merge is mergecraft.soup else 1
    with pytest.raises(MismatchError, match="head.weight"):
        merge(models)
    for keep, head in ((None, [4, 5, 6]), (0, [1, 2]), (-1, [4, 5, 6]), (models[0], [1, 2])):
        result = merge(models, exclude="head.*", keep=keep)
        same(result["x"], [x])
        same(result["head.weight"], head)
    with pytest.raises(UsageError, match="keep: expected exclude"):
        merge(models, keep=0)
    with pytest.raises(UsageError, match="keep: expected one of the models, found 5"):
        merge(models, exclude="head.*", keep=5)
    with pytest.warns(MergeWarning, match="matches the exclude pattern 'nothing'"):
        merge([models[0]] * 2, exclude="nothing")
    with pytest.warns(MergeWarning, match="not in the model that is kept, and left out: extra"):
        result = merge([{**models[0], "extra": models[0]["x"]}, models[0]], exclude="extra")
    assert "extra" not in result


def test_an_excluded_head_beside_a_base():
    base = {"x": tensor([0.0])}
    result = mergecraft.task([base, *heads()], base_index=0, exclude=["head.*"], keep=1)
    same(result["x"], [2])
    same(result["head.weight"], [1, 2])
    with pytest.raises(UsageError, match="keep: expected one of the models"):
        mergecraft.task([base, *heads()], base_index=0, exclude=["head.*"], keep=0)


def test_the_configuration_is_that_of_the_kept_head(tmp_path):
    folders = []
    for i, tensors in enumerate(heads()):
        folder = Path(checkpoint(tmp_path, f"m{i}", tensors))
        labels = {str(j): f"label {j}" for j in range(2 + i)}
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "id2label": labels}))
        folders.append(str(folder))
    for keep, count in ((folders[0], 2), (1, 3)):
        out = tmp_path / f"out{count}"
        mergecraft.soup(folders, exclude="head.*", keep=keep, out=out)
        assert len(json.loads((out / "config.json").read_text())["id2label"]) == count
        assert weights(out)["head.weight"].shape == (count,)
        story = json.loads((out / "mergecraft.json").read_text())
        assert story["exclude"] == ["head.*"]
