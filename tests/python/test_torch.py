"""Modules and pipelines of torch and transformers: in by pointer, out as copies."""

from __future__ import annotations

import copy
import gc
import importlib.util
import os
import tempfile
import warnings

import pytest
import torch
from conftest import EXAMPLES, needs_transformers

import mergecraft
from mergecraft import ArgumentError, MergeWarning, MismatchError, StateDict, layer_merge


@layer_merge
def median(models):
    return torch.median(torch.stack(models), dim=0).values


def linear(value, dtype=torch.float32):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    module[1].running_mean.fill_(value)
    return module.to(dtype)


def test_modules():
    modules = [linear(value) for value in (1.0, 5.0, 3.0)]
    before = [copy.deepcopy(module.state_dict()) for module in modules]
    for merge, value in ((median, 3.0), (mergecraft.median, 3.0), (mergecraft.soup, 3.0)):
        merged = merge(modules)
        assert type(merged) is torch.nn.Sequential and merged is not modules[-1]
        assert all(bool((p == value).all()) for p in merged.parameters())
        assert bool((merged[1].running_mean == 3.0).all())
        assert merged[1].num_batches_tracked == 0
        assert all(p.requires_grad and p.is_leaf for p in merged.parameters())
    for module, kept in zip(modules, before):
        assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())
    merged = median(modules, passthrough="1.*")
    assert bool((merged[1].weight == 3.0).all())
    with torch.no_grad():
        merged[0].weight.fill_(9)
    assert bool((modules[-1][0].weight == 3.0).all())


def test_a_function_gets_its_own_tensors():
    modules = [linear(1.0), linear(2.0)]

    @layer_merge
    def greedy(models):
        assert all(model.dtype == torch.float32 and not model.requires_grad for model in models)
        return models[0].mul_(100)

    assert bool((greedy(modules)[0].weight == 100).all()) and bool((modules[0][0].weight
            == 1).all())


def test_dtypes_of_modules():
    with pytest.warns(mergecraft.MergeWarning, match="rounded from float32 to bfloat16"):
        merged = median([linear(1.0), linear(2.0, torch.bfloat16)])
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}  # the last module's
    merged = median([linear(1.0), linear(2.0)], dtype=torch.float16)
    assert {p.dtype for p in merged.parameters()} == {torch.float16}
    assert {p.dtype for p in mergecraft.soup([linear(1.0, torch.float64)] * 2).parameters()} == {
        torch.float64}


def test_tied_and_frozen():
    def tied(value):
        module = linear(value)
        module[1].bias = module[1].weight
        module[0].bias.requires_grad_(False)
        return module

    merged = median([tied(1.0), tied(3.0)])
    assert merged[1].bias is merged[1].weight and not merged[0].bias.requires_grad
    assert bool((merged[0].bias == 1).all())


def test_bad_modules():
    with pytest.raises(MismatchError, match="'0.weight'"):
        median([torch.nn.Sequential(torch.nn.Linear(2, 3)),
                torch.nn.Sequential(torch.nn.Linear(2, 2))])
    with pytest.raises(ValueError,
                       match=r"models\[1\] \(ReLU\): expected tensors, found a model without "
                             r"weights"):
        median([torch.nn.Linear(1, 1), torch.nn.ReLU()])
    with torch.device("meta"):
        ghost = torch.nn.Linear(1, 1)
    with pytest.raises(ArgumentError,
                       match=r"models\[0\]: layer 'weight': the tensor is on the meta device"):
        median([ghost, torch.nn.Linear(1, 1)])
    with pytest.raises(ArgumentError, match="found one module"):
        median(torch.nn.Linear(1, 1))
    with pytest.raises(ArgumentError, match="expected a dense tensor"):
        mergecraft.soup([{"x": torch.eye(2).to_sparse()}] * 2)


def test_modules_to_a_folder(tmp_path):
    with pytest.warns(MergeWarning, match="not floats and copied from the last model"):
        out = median.to_folder([linear(1.0), linear(3.0)], tmp_path / "out")
    assert StateDict.from_hf(out).keys() == linear(1.0).state_dict().keys()
    assert "`models[0] (Sequential)` | merged" in (tmp_path / "out" / "README.md").read_text()


def test_device():
    assert next(median([linear(1.0)] * 2, device="cpu").parameters()).device.type == "cpu"
    assert median([{"x": torch.ones(1)}] * 2, device="cpu")["x"].device.type == "cpu"


def test_torch_settings_of_the_caller_hold_in_layer_functions():
    @layer_merge
    def look(models):
        assert torch.is_inference_mode_enabled()
        return models[0]

    with torch.inference_mode():
        look([{"x": torch.ones(1)}] * 2)


def test_the_callers_default_device_is_not_that_of_tensors_in_memory():
    models = [{"x": torch.ones(2), "empty": torch.ones(0, 2)}] * 2
    with torch.device("meta"):
        for merge in (layer_merge(lambda models: models[0] * 2), mergecraft.soup):
            assert {value.device.type for value in merge(models).values()} == {"cpu"}


def test_results_without_values():
    models = [{"x": torch.ones(2)}] * 2
    for merge in (layer_merge,
                  lambda f: mergecraft.model_merge(lambda models: {"x": f([m["x"]
                          for m in models])})):
        with pytest.raises(ArgumentError, match="layer 'x': the tensor is on the meta device"):
            merge(lambda models: models[0].to("meta"))(models)
        with pytest.raises(ArgumentError, match="layer 'x': expected a dense tensor"):
            merge(lambda models: models[0].to_sparse())(models)


def test_gradients_flow_through_arithmetic_and_functions_on_dicts():
    factor = torch.tensor(2.0, requires_grad=True)
    half = torch.ones(2, dtype=torch.bfloat16)
    for result in (
        StateDict(x=torch.ones(2)) * factor,
        factor / StateDict(x=torch.ones(2)),
        StateDict(x=half) * factor,
        StateDict(x=torch.zeros(2)) + StateDict(x=torch.ones(2)) * factor,
        mergecraft.dict_map(lambda models: models[0] * factor)([{"x": torch.ones(2)}]),
        layer_merge(lambda models: models[0] * factor)([{"x": torch.ones(2)}]),
        layer_merge(lambda models: models[0] * factor)([{"x": half}]),
        mergecraft.model_merge(lambda models: models[0] * factor)([{"x": torch.ones(2)}]),
    ):
        assert bool((result["x"] == 2).all())
        (gradient,) = torch.autograd.grad(result["x"].float().sum(), factor)
        assert gradient.abs() in (0.5 * 2, 2.0)
    value = torch.ones(2, requires_grad=True)
    for merge in (layer_merge, mergecraft.dict_map):
        result = merge(lambda models: models[0] * 3)([{"x": value}])
        (gradient,) = torch.autograd.grad(result["x"].sum(), value)
        assert gradient.tolist() == [3, 3]
    assert not StateDict.from_model(torch.nn.Linear(1, 1))["weight"].requires_grad


def test_functions_of_torch():
    class Sum(torch.nn.Module):
        def forward(self, models):
            return sum(models)

    models = [{"x": torch.ones(2)}, {"x": torch.full((2,), 2.0)}]
    assert layer_merge(Sum())(models)["x"].tolist() == [3, 3]
    assert layer_merge(torch.no_grad()(lambda models: models[1]))(models)["x"].tolist() == [2, 2]
    assert mergecraft.dict_map(torch.stack)(models)["x"].tolist() == [[1, 1], [2, 2]]


# ---- transformers
# ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules(parents):
    from transformers import AutoModelForSequenceClassification

    return [AutoModelForSequenceClassification.from_pretrained(p).float() for p in parents]


@pytest.fixture(scope="module")
def expected(modules):
    """What torch makes of the parents."""
    layers = [dict(module.named_parameters()) for module in modules]
    return {n: torch.median(torch.stack([layer[n].detach() for layer in layers]), dim=0).values
            for n in layers[0]}


def assert_weights(module, expected):
    found = dict(module.named_parameters())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name].detach(), value), name


@needs_transformers
def test_ids_become_a_pipeline(parents, expected):
    from transformers import TextClassificationPipeline

    for merge in (median, mergecraft.median):
        for keywords in ({}, {"task": "text-classification"}):
            result = merge(parents, **keywords)
            assert isinstance(result, TextClassificationPipeline)
            assert_weights(result.model, expected)
    assert not result.model.training and result.device.type == "cpu"
    label = result({"text": "the red box is here", "text_pair": "a box is here"})["label"]
    assert label in result.model.config.id2label.values()


@needs_transformers
def test_a_pipeline_for_another_task(base, parents):
    """Than that which the configuration tells: its head, where there is none, is a random one."""
    import transformers

    expected = StateDict.from_hf(base)["bert.embeddings.word_embeddings.weight"]
    for task, kind in (
        ("text-classification", transformers.BertForSequenceClassification),
        ("feature-extraction", transformers.BertModel),
        ("fill-mask", transformers.BertForMaskedLM),
    ):
        random = "in no model and random" if task == "text-classification" else None
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", MergeWarning)
            result = mergecraft.soup([base] * 2, task=task)
        assert random is None or any(random in str(each.message) for each in found)
        assert type(result.model) is kind
        assert torch.equal(result.model.base_model.embeddings.word_embeddings.weight.detach(),
                           expected.float())
    with pytest.raises(mergecraft.UnsupportedError,
                       match="no model for 'text-generation' with a DistilBertConfig"):
        core = mergecraft._core.open_models([base])[0]
        mergecraft._transformers.class_for(core, transformers.DistilBertConfig(), "text-generation")


@needs_transformers
def test_generation_goes_on_as_the_model_says(tmp_path):
    import json

    import transformers

    config = transformers.GPT2Config(
        vocab_size=100, n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=94,
        eos_token_id=94
    )
    folders = [str(tmp_path / name) for name in ("a", "b")]
    for folder in folders:
        model = transformers.GPT2LMHeadModel(config)
        model.generation_config.eos_token_id = [3, 5]
        model.save_pretrained(folder)
        vocabulary = {**{chr(33 + i): i for i in range(94)}, "<|endoftext|>": 94}
        (tmp_path / folder / "vocab.json").write_text(json.dumps(vocabulary))
        (tmp_path / folder / "merges.txt").write_text("#version: 0.2\n")
    merged = mergecraft.soup(folders)
    assert merged.task == "text-generation"
    assert merged.model.generation_config.eos_token_id == [3, 5]
    assert merged.model.lm_head.weight is merged.model.transformer.wte.weight


@needs_transformers
def test_modules_and_pipelines(modules, expected, parents, tmp_path, monkeypatch):
    import transformers

    assert_weights(median(modules), expected)
    assert_weights(mergecraft.median(modules), expected)
    tokenizer = transformers.AutoTokenizer.from_pretrained(parents[0])
    pipelines = [transformers.pipeline("text-classification", model=m, tokenizer=tokenizer,
                                       device="cpu") for m in modules]
    merged = median(pipelines)
    assert type(merged) is type(pipelines[0]) and merged is not pipelines[-1]
    assert merged.tokenizer is tokenizer
    assert_weights(merged.model, expected)
    assert pipelines[-1].model is modules[-1]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResourceWarning)
        out = mergecraft.median.to_folder(pipelines, tmp_path / "out")
        gc.collect()
    assert not [warning for warning in found if issubclass(warning.category, ResourceWarning)]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing of the tokenizers
    again = transformers.pipeline("text-classification", model=out, device="cpu")
    assert_weights(again.model, expected)
    text = "the red box is here"
    # The weights are equal; versions of transformers choose different attention code for a module
    # that is loaded and one that is given, which rounds differently.
    (one,), (other,) = again(text), merged(text)
    assert one["label"] == other["label"] and one["score"] == pytest.approx(other["score"],
            abs=1e-6)


@needs_transformers
@pytest.mark.filterwarnings("ignore::mergecraft.MergeWarning")  # the base has a head of its own
def test_a_base_without_a_head(modules, base, tmp_path):
    from transformers import AutoModel, AutoModelForMaskedLM

    bare = AutoModel.from_pretrained(base)
    lm = AutoModelForMaskedLM.from_pretrained(base)
    head = [name for name, _ in modules[0].named_parameters() if name.startswith("classifier")]
    results = []
    for given in (base, lm, bare):
        with pytest.warns(MergeWarning, match="not in the base and averaged over the models"):
            results.append(mergecraft.task(modules, base_model=given))
    for result in results:
        for name in head:
            mean = torch.stack([dict(m.named_parameters())[name].detach() for m in modules]).mean(0)
            assert torch.allclose(dict(result.named_parameters())[name], mean, atol=1e-6)
    found = [dict(result.named_parameters()) for result in results]
    assert all(torch.equal(found[0][n], found[i][n]) for i in (1, 2) for n in found[0]
               if "encoder" in n)


@needs_transformers
def test_state_dict_to_model(parents, modules):
    sd = StateDict.from_hf(parents[0])
    pipeline = (sd * 0).to_model(parents[0])
    assert not any(bool(p.any()) for p in pipeline.model.parameters())
    module = StateDict.from_model(modules[0]).to_model(modules[1])
    assert_weights(module, {n: p.detach() for n, p in modules[0].named_parameters()})
    assert StateDict.from_model(pipeline).keys() == dict(pipeline.model.named_parameters()).keys()


@needs_transformers
def test_the_weights_of_a_pipeline_are_not_copied_on_the_way_in(modules):
    seen = []
    source = mergecraft._tensors.to_source(modules[0].bert.embeddings.word_embeddings.weight)
    assert source.load(share=True).address == modules[
        0].bert.embeddings.word_embeddings.weight.data_ptr()
    seen.append(source)


def test_the_examples_are_there():
    assert (EXAMPLES / "rte-1" / "config.json").exists()


# ---- checkpoints and modules -------------------------------------------------------------------


@needs_transformers
def test_the_order_of_names_is_the_modules(parents, modules):
    expected = [name for name, _ in modules[0].named_parameters()]
    for parent in parents:  # safetensors, shards, two formats of torch
        assert list(StateDict.from_hf(parent, "text-classification")) == expected


@needs_transformers
def test_saved_like_a_model(parents, modules, tmp_path):
    import transformers

    merged = mergecraft.soup([StateDict.from_model(m) for m in modules[:2]])
    tokenizer = transformers.AutoTokenizer.from_pretrained(parents[0])
    pipeline = transformers.pipeline("text-classification", model=modules[0], tokenizer=tokenizer)
    for i, like in enumerate((parents[0], pipeline, modules[0])):
        merged.save(tmp_path / str(i), like=like)
        loaded, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            tmp_path / str(i), output_loading_info=True
        )
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert_weights(loaded.float(), dict(merged))
        with pytest.raises(mergecraft.ExistsError, match="overwrite"):
            merged.save(tmp_path / str(i), like=like)
        if like is not modules[0]:
            transformers.pipeline("text-classification", model=str(tmp_path / str(i)))("a red box")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    part = merged.filter("bert.*")
    with pytest.warns(MergeWarning, match="2 tensors are left as in"):
        part.save(tmp_path / "0", like=parents[0], overwrite=True)


@needs_transformers
def test_a_bare_encoder_fits_a_model_with_a_head(modules, tmp_path):
    bare = modules[0].bert
    bare.save_pretrained(tmp_path / "bare")
    sd = StateDict.from_hf(tmp_path / "bare")
    with pytest.warns(MergeWarning, match="2 tensors are left as in BertForSequence"):
        made = sd.to_model(modules[1])
    expected = {n: p.detach() for n, p in modules[1].named_parameters()}
    expected |= {f"bert.{n}": p.detach() for n, p in bare.named_parameters()}
    assert_weights(made, expected)


@needs_transformers
def test_fused_experts_have_the_files_names(tmp_path):
    """From version 5 on, a module's names are not those of its file."""
    import transformers

    config = transformers.MixtralConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=8, vocab_size=20, num_local_experts=2, num_experts_per_tok=1,
    )  # fmt: skip
    models = [transformers.MixtralForCausalLM(config).eval() for _ in range(2)]
    models[0].save_pretrained(tmp_path / "a")
    ids = torch.arange(6)[None]
    made = StateDict.from_hf(tmp_path / "a").to_model(models[1])
    torch.testing.assert_close(made(ids).logits, models[0](ids).logits)
    mergecraft.soup(models, out=tmp_path / "out")
    assert StateDict.from_hf(tmp_path / "out").keys() == StateDict.from_hf(tmp_path / "a").keys()
    loaded = transformers.MixtralForCausalLM.from_pretrained(tmp_path / "out")
    merged = mergecraft.soup(models)
    torch.testing.assert_close(loaded(ids).logits, merged(ids).logits)


@needs_transformers
def test_tied_in_one_model_and_not_in_another():
    import transformers

    def model(tied):
        config = transformers.LlamaConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            intermediate_size=8, vocab_size=20, tie_word_embeddings=tied,
        )  # fmt: skip
        return transformers.LlamaForCausalLM(config)

    tied, own = model(True), model(False)
    expected = (tied.lm_head.weight + own.lm_head.weight) / 2
    torch.testing.assert_close(mergecraft.soup([tied, own]).lm_head.weight, expected)
    with pytest.warns(MergeWarning, match="lm_head.weight"):
        mergecraft.soup([own, tied])


@needs_transformers
def test_ids_of_any_task(tmp_path):
    import transformers

    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=16, patch_size=8, num_labels=3,
    )  # fmt: skip
    folders = [str(tmp_path / name) for name in "ab"]
    models = [transformers.ViTForImageClassification(config) for _ in folders]
    for folder, model in zip(folders, models):
        model.save_pretrained(folder)
    with pytest.warns(MergeWarning, match="the result is the model, not a pipeline"):
        found = mergecraft.soup(folders)
    assert type(found) is transformers.ViTForImageClassification
    mean = (models[0].classifier.weight + models[1].classifier.weight) / 2
    torch.testing.assert_close(found.classifier.weight, mean)
    with pytest.raises(mergecraft.UnsupportedError, match="out='FOLDER'"):
        mergecraft.soup(folders, task="image-classification")
    if importlib.util.find_spec("torchvision") and importlib.util.find_spec("PIL"):
        for folder in folders:
            transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
        assert mergecraft.soup(folders).task == "image-classification"
    with pytest.raises(mergecraft.UnsupportedError, match="no model for 'text-classification'"):
        mergecraft.soup(folders, task="sentiment-analysis")
    with pytest.raises(mergecraft.UsageError, match="did you mean 'image-classification'"):
        mergecraft.soup(folders, task="image-classificaton")


@needs_transformers
def test_push_to_hub(parents, monkeypatch):
    import huggingface_hub

    seen = {}

    class Api:
        def __init__(self, token=None):
            seen["token"] = token

        def create_repo(self, name, **options):
            seen.update(options, name=name)

        def upload_folder(self, repo_id, folder_path, commit_message):
            seen["names"] = sorted(os.listdir(folder_path))
            seen["message"] = commit_message
            return "commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    sd = StateDict.from_hf(parents[0])
    assert sd.push_to_hub("me/model", like=parents[0], private=True, token="t") == "commit"
    assert seen["name"] == "me/model" and seen["private"] and seen["token"] == "t"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(seen["names"])


def test_out_warns_of_overflow(tmp_path):
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.fill_(1e6)
    with pytest.warns(MergeWarning, match="4 values of 1 tensor, 'weight' among them, are beyond"):
        mergecraft.soup([module, module], out=str(tmp_path / "out"), dtype="float16")


def test_sentence_transformers_to_a_folder(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from safetensors.torch import load_file

    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        vocab_size=20
    )
    models = []
    for i in range(2):
        folder = tmp_path / f"bert-{i}"
        transformers.BertModel(config).save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
                                                     "a", "b"]))
        transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
        parts = importlib.import_module("sentence_transformers.models")
        body = parts.Transformer(str(folder))
        models.append(
            sentence_transformers.SentenceTransformer(modules=[body, parts.Pooling(8),
                                                               parts.Dense(8, 3)])
        )
    out = tmp_path / "out"
    mergecraft.soup(models, out=str(out))
    wanted = sum(model[2].linear.weight for model in models) / 2
    torch.testing.assert_close(load_file(out / "2_Dense" / "model.safetensors")["linear.weight"],
                               wanted)
    merged = sentence_transformers.SentenceTransformer(str(out), device="cpu")
    assert merged.encode("a b").shape == (3,)
