"""mergecraft.mergekit: recipes as mergekit's callers run them, and its methods as functions."""

from __future__ import annotations

import json
import pickle

import pytest
from conftest import EXAMPLES, HAS_TORCH

import mergecraft
from mergecraft import MergeWarning, StateDict
from mergecraft.mergekit import MergeConfiguration, MergeOptions, run_merge

A, B, BASE = (str(EXAMPLES / name) for name in ("rte-1", "rte-2", "base"))

pytestmark = pytest.mark.filterwarnings("ignore::mergecraft.MergeWarning")

METHODS = {
    "linear": {"weight": 0.5},
    "slerp": {"t": 0.3},
    "nuslerp": {"weight": [0.5, 0.5]},
    "multislerp": {"weight": 0.5},
    "karcher": {},
    "task_arithmetic": {"weight": 0.5},
    "ties": {"weight": 0.5, "density": 0.5},
    "dare_linear": {"weight": 0.5, "density": 0.5},
    "dare_ties": {"weight": 0.5, "density": 0.5},
    "della": {"weight": 0.5, "density": 0.5, "epsilon": 0.1},
    "della_linear": {"weight": 0.5, "density": 0.5, "epsilon": 0.1},
    "breadcrumbs": {"weight": 0.5, "density": 0.5, "gamma": 0.1},
    "breadcrumbs_ties": {"weight": 0.5, "density": 0.5, "gamma": 0.1},
    "sce": {"select_topk": 0.5},
    "model_stock": {},
    "nearswap": {"t": 0.1},
    "arcee_fusion": {},
    "ram": {},
    "ramplus_tl": {},
    "passthrough": {},
}
ONE_MODEL, BASE_ONLY = ("passthrough",), ("slerp", "nearswap", "arcee_fusion")
WITHOUT_BASE = ("linear", "multislerp", "karcher", "passthrough", "nuslerp")


def config_of(method, **parameters):
    """As TRL's callback makes them."""
    names = [A] if method in (*ONE_MODEL, *BASE_ONLY) else [A, B]
    made = {"merge_method": method, "dtype": "float32",
            "models": [{"model": name} for name in names]}
    if method not in WITHOUT_BASE:
        made["base_model"] = BASE
    if method in BASE_ONLY:  # their parameters belong to the merge
        made["parameters"] = parameters
        return made
    for i, entry in enumerate(made["models"]):
        entry["parameters"] = {n: v[i] if isinstance(v, list) else v for n, v in parameters.items()}
    return made


def functions():
    return {n: m for n in dir(mergecraft.mergekit)
            if isinstance(m := getattr(mergecraft.mergekit, n), mergecraft.Method)}


def test_every_method_is_a_function():
    assert functions().keys() == METHODS.keys()
    vectors = [StateDict.from_hf(name).filter("*attention.self.*") for name in (A, B, BASE)]
    for name, method in functions().items():
        given = vectors[:1] if name in (*ONE_MODEL, *BASE_ONLY) else vectors[:2]
        base = {} if name in WITHOUT_BASE else {"base_model": vectors[2]}
        made = method(given, **base, **METHODS[name])
        assert made.keys() == vectors[0].keys(), name
        assert all(abs(float(t.sum())) < 1e6 for t in made.values()), name


@pytest.mark.parametrize("method", ["linear", "dare_ties", "slerp"])
def test_as_trl_calls_it(method, tmp_path):
    config = MergeConfiguration.model_validate(config_of(method, **METHODS[method]))
    options = MergeOptions(cuda=True, copy_tokenizer=True, lazy_unpickle=True, low_cpu_memory=False)
    assert run_merge(config, out_path=str(tmp_path / "merged"), options=options) is None
    made = StateDict.from_hf(tmp_path / "merged")
    parameters = dict(METHODS[method])
    names = [A] if method == "slerp" else [A, B]
    base = {} if method == "linear" else {"base_model": StateDict.from_hf(BASE)}
    expected = getattr(mergecraft.mergekit, method)([StateDict.from_hf(n) for n in names], **base,
                                                    **parameters)
    for name in made.keys() & expected.keys():
        assert abs(made[name] - expected[name]).max() < 1e-6, name
    assert (tmp_path / "merged" / "mergekit_config.yml").read_text() == config.to_yaml()
    run_merge(config_of("linear", weight=1), tmp_path / "merged")  # replaces the model


def test_configurations():
    config = MergeConfiguration.model_validate(config_of("ties", density=1e-5, weight=1))
    assert config.merge_method == "ties" and config.base_model == BASE
    assert sorted(config.referenced_models()) == sorted([A, B, BASE])
    assert MergeConfiguration.from_yaml(config.to_yaml()) == config == pickle.loads(pickle.dumps(
        config))
    assert MergeConfiguration(**config.model_dump()) == config
    assert MergeConfiguration.model_validate(config) is config
    with pytest.raises(AttributeError):
        config.nothing
    for wrong in ({"merge_method": "none", "models": [{"model": A}]}, {"models": [{"model": A}]},
                  {}):
        with pytest.raises(ValueError, match="recipe.yml"):
            MergeConfiguration.model_validate(wrong)
    for wrong in ([1], None, "x", {1: 2}):
        with pytest.raises(ValueError, match="expected"):
            MergeConfiguration.model_validate(wrong)
    # As any other unknown key.
    odd = {**config_of("linear", weight=1), "self": 1}
    odd["models"][0]["self"] = 2
    assert MergeConfiguration.model_validate(odd).models[0]["self"] == 2


def test_parts_of_configurations():
    """Parts have the attributes of mergekit's objects, and stay dicts and texts."""
    made = config_of("ties", density=0.5, weight=[{"filter": "mlp", "value": [0, 1]}, {"value": 1}])
    made["models"][1]["model"] = f"{B}+adapter"
    config = MergeConfiguration.model_validate(made)
    first, second = config.models
    assert first.model == A == first["model"] and first.model.model.path == A
    assert (second.model.model.path, second.model.lora.path) == (B, "adapter")
    assert str(second.model) == f"{B}+adapter" and second.model.override_architecture is None
    assert first.parameters == {"density": 0.5, "weight": {"filter": "mlp", "value": [0, 1]}}
    assert first.parameters["weight"].value == [0, 1]
    assert second.parameters["weight"].filter is None
    assert config.base_model.model.path == BASE and config.base_model.model.revision is None
    assert config.slices is config.tokenizer is config.chat_template is None
    assert [str(m) for m in config.referenced_models()] == [A, f"{B}+adapter", BASE]
    assert all(m.model.path in (A, B, BASE) for m in config.referenced_models())
    for read in (MergeConfiguration(**config.model_dump()), pickle.loads(pickle.dumps(config)),
                 config.model_copy(deep=True)):
        assert read == config and read.models[1].model.lora.path == "adapter"
    with pytest.raises(AttributeError):
        first.nothing
    with pytest.raises(AttributeError):
        first.wieght = 1


def test_parts_of_texts():
    """Parts of a configuration that was given as text; they need PyYAML."""
    pytest.importorskip("yaml")
    source = {"model": f"{B}+adapter", "layer_range": [0, 2]}
    config = MergeConfiguration(merge_method="passthrough", slices=[
        {"sources": [source], "parameters": {"scale": 2}}])
    read = MergeConfiguration.from_yaml(config.to_yaml())
    assert read.slices[0] == config.slices[0]
    assert read.slices[0].sources[0].model.lora.path == "adapter"


def test_slices_modules_and_tokenizers():
    source = {"model": {"model": {"path": "a@b+c", "revision": "main"}}, "layer_range": [0, 2]}
    config = MergeConfiguration(
        merge_method="passthrough", slices=[{"sources": [source], "parameters": {"scale": 2}}],
        tokenizer={"tokens": {"<s>": {"source": A}, "x": {"source": {"kind": "zero"}},
                              "y": {"source": {"kind": "model_token", "model": B, "token_id": 7}}}})
    one = config.slices[0].sources[0]
    assert tuple(one.layer_range) == (0, 2) and config.slices[0].base_model is None
    assert (one.model.model.path, one.model.model.revision) == ("a@b+c", "main")
    assert config.model_dump(exclude_none=True)["slices"][0]["sources"][0] == {
        "model": source["model"], "layer_range": (0, 2)}
    assert "residual_weight" in config.model_dump()["slices"][0]
    tokens = config.tokenizer.tokens
    assert (config.tokenizer.source, tokens["<s>"].source.model.path) == ("union", A)
    assert tokens["x"].source.kind == "zero" and tokens["<s>"].force is False
    assert tokens["y"].source.token is None and tokens["y"].source.model.model.path == B
    config = MergeConfiguration(merge_method="linear", parameters={"weight": 1}, modules={
        "encoder": {"models": [{"model": A}]}})
    assert config.modules["encoder"].models[0].model == A and not config.modules["encoder"].slices


def test_parts_are_made_by_their_classes():
    from mergecraft.mergekit.common import ModelPath, ModelReference
    from mergecraft.mergekit.config import (ConditionalParameter, InputModelDefinition,
                                            InputSliceDefinition, OutputSliceDefinition)

    reference = ModelReference.parse("org/name@v1+org/adapter@v2")
    assert (reference.model.path, reference.model.revision) == ("org/name", "v1")
    assert reference.lora == ModelPath(path="org/adapter", revision="v2")
    assert ModelReference(model=ModelPath(path="m")) == "m" == ModelReference.model_validate(
        {"model": "m"})
    weight = [ConditionalParameter(filter="mlp", value=0.2), ConditionalParameter(value=1)]
    config = MergeConfiguration(merge_method="linear", models=[
        InputModelDefinition(model=ModelReference.parse(A), parameters={"weight": weight})])
    assert config == MergeConfiguration.from_yaml(
        "merge_method: linear\nmodels:\n- model: %s\n  parameters:\n    weight: "
        "[{filter: mlp, value: 0.2}, {value: 1}]" % A)
    part = OutputSliceDefinition(sources=[InputSliceDefinition(model=A, layer_range=(0, 1))])
    stack = MergeConfiguration(merge_method="passthrough", slices=[part, part])
    assert stack.slices[1].sources[0].model.model.path == A
    with pytest.raises(ValueError, match="expected a model"):
        ModelReference.parse(7)
    with pytest.raises(ValueError, match="expected a dict"):
        InputModelDefinition.model_validate(7)


@pytest.mark.parametrize("read", [False, True])
def test_changes_of_a_configuration_apply(read, tmp_path):
    config = MergeConfiguration.model_validate(config_of("linear", weight=0.5))
    if read:
        pytest.importorskip("yaml")
        config = MergeConfiguration.from_yaml("# of mine\n" + config.to_yaml())
        assert config.dtype == "float32" and config.to_yaml().startswith("# of mine")
    config.models[0].parameters["weight"] = 3
    config.models[1].parameters = {"weight": [1, 1]}
    config.dtype, config.out_dtype = None, "float16"
    run_merge(config, tmp_path / "merged")
    made = StateDict.from_hf(tmp_path / "merged")
    expected = mergecraft.mergekit.linear([StateDict.from_hf(n) for n in (A, B)], weight=[3, 1])
    name = next(n for n in expected if "query.weight" in n)
    assert abs(made[name] - expected[name]).max() < 1e-3 and "float16" in str(made[name].dtype)
    assert "of mine" not in config.to_yaml()
    copy = config.model_copy(update={"merge_method": "karcher"})
    copy.models[0].parameters["weight"] = 4
    assert config.merge_method == "linear" and config.models[0].parameters["weight"] == 3
    with pytest.raises(AttributeError, match="densitty"):
        config.densitty = 1


def test_text_of_several_documents():
    config = MergeConfiguration.from_yaml(
        "name: a\nmerge_method: linear\nmodels: [{model: x}]\nparameters: {weight: 1}\n---\n"
        "merge_method: linear\nmodels: [{model: a}]\nparameters: {weight: 1}\n")
    assert config.referenced_models() == ["x"]
    with pytest.raises(AttributeError, match="several documents|PyYAML"):
        config.models


def test_options():
    from mergecraft.mergekit.config import MergeConfiguration as from_config
    from mergecraft.mergekit.merge import MergeOptions as from_merge
    from mergecraft.mergekit.merge import run_merge as function

    assert from_config is MergeConfiguration and from_merge is MergeOptions
    assert function is run_merge
    values = {name: getattr(MergeOptions, name) for name in MergeOptions.__annotations__}
    assert len(values) == 24 and vars(MergeOptions(**values)) == values
    with pytest.raises(TypeError, match="did you mean 'random_seed'"):
        MergeOptions(random_sed=1)
    for wrong in ({"safe_serialization": False}, {"unsafe_truncate_embeddings": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MergeOptions(**wrong)


def test_values_of_options():
    """As pydantic converts them: bool("no") would be True."""
    options = MergeOptions(copy_tokenizer="no", cuda=1, num_threads="2", random_seed=2**63 + 1,
                           device=None, write_threads=3.0)
    assert (options.copy_tokenizer, options.cuda, options.num_threads) == (False, True, 2)
    assert (options.random_seed, options.device, options.write_threads) == (2**63 + 1, None, 3)
    for wrong in ({"cuda": "maybe"}, {"cuda": 2}, {"num_threads": "x"}, {"num_threads": 1.5},
                  {"cuda": None}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MergeOptions(**wrong)
    assert options == MergeOptions.model_validate(options.model_dump())
    assert options.model_copy(update={"cuda": False}) != options
    with pytest.raises(ValueError, match="expected a dict"):
        MergeOptions.model_validate(7)


def test_result_within_a_model(tmp_path):
    """TRL's callback merges a checkpoint into a folder within it, again at the next run."""
    import shutil

    shutil.copytree(A, tmp_path / "checkpoint-5")
    config = config_of("linear", weight=1)
    config["models"][0]["model"] = str(tmp_path / "checkpoint-5")
    for _ in range(2):
        run_merge(config, str(tmp_path / "checkpoint-5/merged"))
    assert (tmp_path / "checkpoint-5/merged/model.safetensors").exists()


@pytest.mark.parametrize("value", [0.5, 2, {0: 1}])
def test_flags_and_lists_of_functions(value):
    vectors = [StateDict.from_hf(name).filter("*attention.self.*") for name in (A, B)]
    with pytest.raises(ValueError, match="expected"):
        mergecraft.mergekit.linear(vectors, weight=1, normalize=value)
    with pytest.raises(ValueError, match="expected a list"):
        mergecraft.mergekit.linear(vectors, weight={0: 1})
    sums = [mergecraft.mergekit.linear(vectors, weight=1, normalize=n) for n in (False, "false")]
    assert all((sums[0][name] == sums[1][name]).all() for name in vectors[0])


def test_modules_are_there_after_one_import():
    import subprocess
    import sys

    code = "import mergecraft; mergecraft.mergekit.dare_ties; mergecraft.lora"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_of_mergekit():
    mergekit = pytest.importorskip("mergekit.options")
    fields = mergekit.MergeOptions.model_fields
    assert {n: f.default for n, f in fields.items()} == {n: getattr(MergeOptions, n)
                                                         for n in MergeOptions.__annotations__}


def test_seeds_and_warnings(tmp_path):
    config = config_of("dare_ties", weight=0.5, density=0.5)
    for seed in (1, 1, 2):
        run_merge(config, tmp_path / f"{seed}",
                  MergeOptions(random_seed=seed, write_model_card=False, out_shard_size=0))
    one, two = (StateDict.from_hf(tmp_path / name) for name in "12")
    name = next(n for n in one if "query.weight" in n)
    assert not (one[name] == two[name]).all() and not (tmp_path / "1"
                                                       / "mergekit_config.yml").exists()
    with pytest.warns(MergeWarning, match="densitty"):
        wrong = config_of("linear", weight=0.5)
        wrong["densitty"] = 0.5
        run_merge(wrong, tmp_path / "warned")
    with pytest.raises(mergecraft.NotFoundError):
        run_merge(MergeConfiguration(merge_method="linear", dtype="float32",
                                     models=[{"model": "/nowhere", "parameters": {"weight": 1}}]),
                  tmp_path / "x")


@pytest.mark.skipif(not HAS_TORCH, reason="modules need torch")
def test_dry_runs(tmp_path):
    plan = mergecraft.ties([BASE, A, B], k=0.2, out=tmp_path / "x", dry_run=True)
    assert not (tmp_path / "x").exists() and plan["method"] == "ties"
    assert len(plan["plan"]) == plan["tensors"] and {"name", "dtype", "shape", "bytes",
                                                     "how"} <= plan["plan"][0].keys()
    assert plan["bytes_written"] > 0
    plan = mergecraft.layer_merge(lambda models: models[0])([A, B], dry_run=True)
    assert plan["tensors"] == len(plan["plan"])


def test_keys_that_are_not_given_are_none():
    config = MergeConfiguration.model_validate(config_of("linear", weight=1))
    assert config.slices is None and config.out_dtype is None and config.dtype == "float32"
    with pytest.raises(AttributeError, match="'layers'"):
        config.layers  # noqa: B018


def test_config_source_of_another_recipe(tmp_path):
    """The configuration is merged, and not a text that a caller has of another one."""
    fields = config_of("linear", weight=0.5)
    config = MergeConfiguration.model_validate(fields)
    reverse = {"base_model": None, **dict(reversed(fields.items()))}
    text = "# mine\n" + json.dumps(reverse).replace("0.5", ".50")  # which PyYAML takes as a text
    run_merge(config, tmp_path / "own", config_source=text)
    assert (tmp_path / "own/mergekit_config.yml").read_text() == text
    with pytest.warns(MergeWarning, match="config_source is not the recipe"):
        run_merge(config, tmp_path / "other", config_source=text.replace("float32", "float16"))
    made = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("own", "other")]
    assert made[0] == made[1]
    assert "float16" not in (tmp_path / "other/mergekit_config.yml").read_text()
