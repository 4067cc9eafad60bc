"""mergecraft.lora, without PEFT: adapters of tests/data/adapters. With PEFT: tests/real/lora.py."""

import copy
import json
import pathlib
import shutil

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


# ---- PEFT models ---------------------------------------------------------------------------------


def tiny(**settings):
    """A PEFT model of a tiny Llama, with random factors."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False,
        )
    )
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, lora_alpha=3, **settings))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + torch.randn(parameter.shape) * 0.3
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "up_proj"]},
        {"target_modules": ["q_proj"], "use_dora": True},
        {"target_modules": {"k_proj"}, "modules_to_save": ["lm_head", "norm"]},
    ],
)
def test_bake_of_a_peft_model(settings, tmp_path):
    model = tiny(**settings)
    # PEFT merges in place, and `baked` reads the model's tensors when they are asked for.
    expected = copy.deepcopy(model).merge_and_unload().state_dict()
    baked = mergecraft.lora.bake(model)
    path = mergecraft.lora.bake(model, out=tmp_path / "baked")
    assert set(baked) == set(expected) and path == str(tmp_path / "baked")
    for name, tensor in expected.items():
        numpy.testing.assert_allclose(array(baked[name]), tensor.double().numpy(), atol=2e-6)
    written = mergecraft.StateDict.from_hf(str(tmp_path / "baked" / "model.safetensors"))
    for name in expected:
        numpy.testing.assert_array_equal(array(written[name]), array(baked[name]))


def test_merge_of_peft_models_and_their_folders(tmp_path):
    model = tiny(target_modules=["q_proj", "down_proj"])
    model.save_pretrained(tmp_path / "saved")
    own = mergecraft.lora.merge("svd", [model, tmp_path / "saved"], weights=[0.5, 0.25], rank=2)
    folders = mergecraft.lora.merge("svd", [tmp_path / "saved"] * 2, weights=[0.5, 0.25], rank=2)
    for name, tensor in folders.tensors.items():
        numpy.testing.assert_array_equal(array(own.tensors[name]), array(tensor))
    nested = mergecraft.lora.merge("cat", [own, folders], weights=1)
    assert nested.config["r"] == 4


def test_extract_from_modules():
    model = tiny(target_modules=["q_proj", "down_proj"])
    base = {name: tensor.clone() for name, tensor in model.get_base_model().state_dict().items()}
    plain = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in base.items() if "lora_" not in name
    }
    tuned = model.merge_and_unload()
    adapter = mergecraft.lora.extract(tuned, plain, rank=2)
    assert sorted(adapter.config["target_modules"]) == ["down_proj", "q_proj"]
    again = mergecraft.lora.bake(adapter, plain)
    for name, tensor in tuned.state_dict().items():
        numpy.testing.assert_allclose(array(again[name]), tensor.double().numpy(), atol=5e-6)


def test_two_active_adapters_are_refused():
    model = tiny(target_modules=["q_proj"])
    model.add_adapter("other", model.peft_config["default"])
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(mergecraft.UsageError, match="one active adapter"):
        mergecraft.lora.bake(model)


def test_notes_are_warnings(tmp_path):
    """An adapter for another base: what the command prints, Python warns of."""
    shutil.copytree(DATA / "plain" / "adapter", tmp_path / "lora")
    config = tmp_path / "lora" / "adapter_config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "base_model_name_or_path": "org/another"}))
    with pytest.warns(UserWarning, match="was made for the base model 'org/another'"):
        mergecraft.lora.bake(tmp_path / "lora", DATA / "plain" / "base")
