"""The library's methods: signatures, parameters, results against numpy."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from conftest import ROOT, array, same, tensor

import mergecraft
from mergecraft import MergeWarning, StateDict, UsageError

ALL = {name: m for name in dir(mergecraft) if isinstance(m := getattr(mergecraft, name),
                                                         mergecraft.Method)}


def vectors(*rows):
    return [{"x": tensor(list(row))} for row in rows]


def test_signatures_are_the_originals():
    expected = {
        "soup": ["models", "weights"],
        "task": ["models", "base_index", "signs", "scale", "weights", "scaling"],
        "slerp": ["models", "tau", "eps"],
        "stock": ["models", "base_index", "weights"],
        "ties": ["models", "base_index", "k", "weights", "trim", "scale"],
        "dare": ["models", "base_index", "p", "average", "weights"],
        "median": ["models"],
        "max_magnitude": ["models", "base_index", "scale"],
    }
    for name, names in expected.items():
        parameters = inspect.signature(ALL[name]).parameters
        assert [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == names
    assert inspect.signature(mergecraft.ties).parameters["k"].default == 0.1
    assert inspect.signature(mergecraft.task).parameters["base_index"].default == 0


def test_every_method_says_what_it_is():
    for name, method in ALL.items():
        assert method.__name__ == name and name in mergecraft.__all__
        assert inspect.getdoc(method).splitlines()[0].endswith(".")
        for parameter in method._params:
            assert f"    {parameter}: " in inspect.getdoc(method)
    assert "trimmed_mean" in ALL and len(ALL) >= 9


def test_the_stub_says_what_is_there():
    """tools/make_python_stubs.py writes it."""
    written = subprocess.run(
        [sys.executable, ROOT / "tools" / "make_python_stubs.py"], check=True, capture_output=True,
        text=True
    )
    assert written.stdout == (Path(mergecraft.__file__).parent / "_builtin.pyi").read_text()


def test_soup():
    models = vectors([1, 2], [3, 6])
    same(mergecraft.soup(models)["x"], [2, 4])
    same(mergecraft.soup(models, [3, 1])["x"], [1.5, 3])
    same(mergecraft.soup(models, weights=(1, 0))["x"], [1, 2])
    same(mergecraft.soup(models, weights=numpy.array([0.0, 2.0]))["x"], [3, 6])
    with pytest.raises(UsageError, match="weights.*2.*3"):
        mergecraft.soup(models, weights=[1, 2, 3])
    same(mergecraft.soup(models, weights=0.5)["x"], [2, 4])
    with pytest.raises(UsageError, match="expected a number, found 'a'"):
        mergecraft.soup(models, weights=["a", 1])


def test_task_ties_stock_slerp():
    models = vectors([1, 1], [2, 0], [4, 3])
    same(mergecraft.task(models)["x"], [3, 1.5])
    same(mergecraft.task(models, signs=[1, -1])["x"], [0, -0.5])
    same(mergecraft.task(models, 2, [1, 1], 2)["x"], [-1, -2])
    same(mergecraft.ties(models, 0, 1)["x"], [3, 3])
    half = numpy.sin(numpy.pi / 8) / numpy.sin(numpy.pi / 4)  # of an angle of 45 degrees
    same(mergecraft.slerp(vectors([1, 0], [1, 1]))["x"], [2 * half, half], 1e-6)
    same(mergecraft.slerp(vectors([1, 0], [1, 1]), 0)["x"], [1, 0], 1e-6)
    base, mean = numpy.array([1, 1]), numpy.array([3, 1.5])
    cosine = base @ mean / numpy.linalg.norm(base) / numpy.linalg.norm(mean)
    share = 2 * cosine / (1 + cosine)
    same(mergecraft.stock(models)["x"], share * mean + (1 - share) * base, 1e-6)
    same(mergecraft.max_magnitude(models)["x"], [4, 3])


def test_dare_is_seeded():
    models = [{"x": tensor(numpy.arange(100) * float(i))} for i in range(3)]
    first = array(mergecraft.dare(models, seed=1)["x"])
    same(mergecraft.dare(models, seed=1)["x"], first)
    assert (array(mergecraft.dare(models, seed=2)["x"]) != first).any()
    same(mergecraft.dare(models, p=1)["x"], numpy.zeros(100))
    assert (array(mergecraft.dare(models, seed=1, average="models")["x"]) != first).any()
    with pytest.raises(UsageError, match="average"):
        mergecraft.dare(models, average="nothing")


def test_parameters_are_checked():
    models = vectors([1.0], [2.0])
    with pytest.raises(ValueError, match="k"):
        mergecraft.ties(models, k=5)
    with pytest.raises(TypeError, match=r"ties\(\) got an unexpected keyword argument 'density'"):
        mergecraft.ties(models, density=0.5)
    with pytest.raises(TypeError, match="did you mean 'passthrough_layers'"):
        mergecraft.ties(models, passthrough_layer=["x"])
    with pytest.raises(TypeError, match="at most 3 positional arguments"):
        mergecraft.stock(models, 0, 0.1, 5)
    with pytest.raises(TypeError, match="multiple values for argument 'k'"):
        mergecraft.ties(models, 0, 0.1, k=0.1)
    with pytest.raises(UsageError, match="expected models beside the base"):
        mergecraft.ties(models[:1])
    with pytest.raises(ValueError, match="slerp.*2.*3"):
        mergecraft.slerp(vectors([1.0], [2.0], [3.0]))


def test_suggestions_ignore_case():
    with pytest.raises(TypeError, match="did you mean 'k'"):
        mergecraft.ties(vectors([1.0], [2.0]), K=0.2)


def test_keywords_of_0x():
    models = vectors([1.0, 0.0], [2.0, 4.0], [3.0, 1.0])
    expected = mergecraft.ties(models, k=0.5)
    with pytest.warns(MergeWarning, match="full_quantile_computation has no effect"):
        assert mergecraft.ties(models, k=0.5, full_quantile_computation=True) == expected
    assert mergecraft.slerp(models[:2], eps=0.5) == mergecraft.soup(models[:2])
    assert mergecraft.slerp(models[:2]) != mergecraft.soup(models[:2])
    heads = [{"x": tensor([v]), "head": tensor([v])} for v in (1.0, 2.0, 6.0)]
    with pytest.warns(MergeWarning, match=r"models\[0\] is merged like the others"):
        result = mergecraft.soup(heads, base_index=0, passthrough="head")
    same(result["x"], [3])  # the base counts
    same(result["head"], [4])  # and here it does not
    with pytest.raises(UsageError, match="base_index"):
        mergecraft.soup(heads, base_index=3)


def test_bare_tensors():
    models = [m["x"] for m in vectors([1.0, 0.0], [2.0, 4.0], [3.0, 1.0])]
    for method, keywords in (("ties", {"k": 0.5}), ("dare", {"seed": 3}),
                             ("task", {"weights": [1, 3]})):
        whole = getattr(mergecraft, method)([{"x": m} for m in models], **keywords)["x"]
        found = getattr(mergecraft, method).layer(models[1:], models[0], layer_name="x", **keywords)
        same(found, array(whole))
    same(mergecraft.soup.layer(models), [2, 5 / 3], 1e-6)

    @mergecraft.layer_merge
    def mixed(models, base_model, layer_name):
        if layer_name == "y":
            return mergecraft.soup.layer(models)
        return mergecraft.ties.layer(models, base=base_model, k=0.5)

    dicts = [{"x": m, "y": m} for m in models]
    result = mixed(dicts[1:], base_model=dicts[0])
    same(result["x"], array(mergecraft.ties(dicts, k=0.5)["x"]))
    same(result["y"], array(mergecraft.soup(dicts[1:])["y"]))
    with pytest.raises(mergecraft.ArgumentError,
                       match=r"tensors\[1\]: expected a tensor, found int"):
        mergecraft.soup.layer([models[0], 5])


@pytest.mark.filterwarnings("ignore::mergecraft.MergeWarning")  # the base has a head of its own
def test_the_same_bits_from_folders_and_dicts(tmp_path, parents, base):
    """The demo models of five formats, through dicts and through folders."""
    for name, keywords in (("ties", {"k": 0.2}), ("dare", {"seed": 7}), ("median", {})):
        method = ALL[name]
        if name != "median":
            keywords["base_model"] = base
        folder = method.to_folder(parents, tmp_path / name, passthrough="classifier.*", **keywords)
        if name != "median":
            keywords["base_model"] = StateDict.from_hf(base)
        tensors = method([StateDict.from_hf(p) for p in parents], passthrough="classifier.*",
                         **keywords)
        assert StateDict.from_hf(folder) == tensors


def test_merges_as_tables():
    assert "<td>k</td><td>0.1</td>" in mergecraft.ties._repr_html_()

    @mergecraft.layer_merge
    def mine(models, share=0.5, name="<b>"):
        return models[0]

    shown = mine._repr_html_()
    assert "merge mine" in shown and "<td>share</td><td>0.5</td>" in shown and "&lt;b&gt;" in shown


def test_a_method_in_c(tmp_path):
    methods = mergecraft.load_methods(ROOT / "examples" / "median.c")
    (method,) = methods.values()
    same(method(vectors([1, 5], [2, 4], [9, 0]))["x"], [2, 4])
    broken = tmp_path / "broken.c"
    broken.write_text("#include <mergecraft/method.h>\nMC_LAYER_MERGE(broken) { nonsense; }\n")
    with pytest.raises(mergecraft.CompileError, match="nonsense"):
        mergecraft.load_methods(broken)


def test_a_method_with_a_further_list(tmp_path):
    (method,) = mergecraft.load_methods(ROOT / "examples" / "hessians.c").values()
    assert list(inspect.signature(method).parameters)[:2] == ["models", "hessians"]
    models, hessians = vectors([1.0, 5.0], [3.0, 7.0]), vectors([1.0, 0.0], [3.0, 0.0])
    same(method(models, hessians=hessians)["x"], [2.5, 6])
    same(method(models, hessians)["x"], [2.5, 6])
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for path, each in zip(paths, hessians):
        StateDict(each).save(path)
    same(method(models, hessians=paths)["x"], [2.5, 6])
    bare = method.layer([each["x"] for each in models], hessians=[each["x"] for each in hessians])
    same(bare, [2.5, 6])
    with pytest.raises(mergecraft.UsageError, match="hessians"):
        method(models)
    with pytest.raises(ValueError, match=r"hessians: expected one per model \(2\), found 1"):
        method(models, hessians=hessians[:1])
    with pytest.raises(mergecraft.ArgumentError, match="hessians: expected a list, found dict"):
        method(models, hessians=hessians[0])
    with pytest.raises(mergecraft.ArgumentError, match=r"hessians\[1\]: expected"):
        method(models, hessians=[hessians[0], 5])


def test_every_error_is_one_of_the_family():
    names = [n for n in mergecraft.__all__ if n.endswith("Error")]
    assert len(names) >= 10
    for name in names:
        assert issubclass(getattr(mergecraft, name), mergecraft.Error)
    with pytest.raises(mergecraft.Error) as caught:
        StateDict.from_hf("/nowhere/at-all")
    assert caught.value.file is not None and caught.value.tensor is None and "nowhere" in str(
        caught.value)


def test_the_methods_of_mergekit():
    import pickle

    import mergecraft.mergekit

    for name in mergecraft.mergekit.__all__:
        method = getattr(mergecraft.mergekit, name)
        if not isinstance(method, mergecraft.Method):  # run_merge and its classes
            continue
        assert method._core.family == "mergekit" and inspect.signature(method)
        assert pickle.loads(pickle.dumps(method)) is method
    models = vectors([1.0, 2.0], [3.0, 4.0])
    plain = mergecraft.mergekit.task_arithmetic(models, weight=1)
    assert mergecraft.mergekit.task_arithmetic(models, weight=1, lambda_=0.5) != plain


def test_merges_into_memory_report_what_only_values_show():
    base, models = vectors([0.0, 0.0])[0], vectors([3e38, 1.0], [2e38, float("nan")])
    with pytest.warns(MergeWarning) as caught:
        mergecraft.task(models, base_model=base, scale=2.0)
    texts = [str(each.message) for each in caught]
    assert any("1 NaN and 0 infinite values" in text for text in texts)
    assert any("'x' among them, is beyond the range of float32" in text for text in texts)
    with pytest.raises(mergecraft.MismatchError, match="beyond the range of float32"):
        mergecraft.task(vectors([3e38]), base_model=vectors([0.0])[0], scale=2.0, strict=True)
    with pytest.warns(MergeWarning, match="beyond the range of float32"):
        mergecraft.task.layer([tensor([3e38])], tensor([0.0]), scale=2.0)


def test_merges_into_memory_report_averaged_tensors():
    models = [{"x": tensor([[value] * 2] * 2)} for value in (1.0, 2.0)]
    grams = [{"x": tensor([[0.0] * 2] * 2)}] * 2
    reason = "its Gram matrices are zero in all models"
    with pytest.warns(MergeWarning, match=f"1 tensor, 'x' among them, was averaged: {reason}"):
        mergecraft.regmean(models, grams=grams)
    with pytest.raises(mergecraft.MismatchError, match=reason):
        mergecraft.regmean(models, grams=grams, strict=True)
