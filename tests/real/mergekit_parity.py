"""Compares recipes with mergekit 0.1.5: names, shapes, dtypes, configuration, values within one
rounding.

    python tests/real/mergekit_parity.py build/release/mergecraft

Needs mergekit 0.1.5 with its torch and transformers. The models are small Llamas and T5s made here.
mergekit runs with `dtype: float32`, so that it too rounds once; random methods are compared by
their norms. Methods that keep the largest elements also run on models in float32, whose task
vectors have no equal magnitudes: there no choice among equals hides a difference.
"""

import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
import yaml  # noqa: E402
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM, LlamaConfig, T5Config, T5ForConditionalGeneration)

NAMES = ("base", "one", "two", "three")
# Shares of elements that may differ: of the methods that keep the largest, since mergekit chooses
# among elements of equal magnitude arbitrarily (task vectors of bfloat16 have many), and of the
# others. Difference of norms of random methods.
AT_THRESHOLD, OTHERS, RANDOM = 5e-3, 1e-4, 5e-2


def make_models():
    config = LlamaConfig(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    base = {name: torch.randn(p.shape) * 0.05 + ("norm" in name) for name, p in model.named_parameters()}
    for seed, folder in enumerate(NAMES):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(base[name] + (seed > 0) * 0.02 * torch.randn(p.shape, generator=generator))
        model.save_pretrained(f"{folder}32")
        model.to(torch.bfloat16).save_pretrained(folder)
        model.to(torch.float32)


def make_t5():
    config = T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4,
                      num_decoder_layers=4, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    for seed, folder in enumerate(("t5", "t5b")):
        torch.manual_seed(seed)
        T5ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)


def models(*parameters):
    return [{"model": name, "parameters": p} if p else {"model": name} for name, p in zip(NAMES[1:], parameters)]


def weights(*values, **more):
    return models(*[{"weight": value, **more} for value in values])


TASK = {"base_model": "base"}
RECIPES = {
    "linear": {"models": weights(1, 2, [0.2, 0.8])},
    "linear_sum": {"merge_method": "linear", "models": weights(0.5, 0.7), "parameters": {"normalize": False}},
    "slerp": {**TASK, "models": models({}), "parameters": {"t": [{"filter": "mlp", "value": [0, 0.5, 1]}, {"value": 0.3}]}},
    "nuslerp": {"models": weights(0.3, [0.4, 0.9])},
    "nuslerp_rows": {"merge_method": "nuslerp", **TASK, "models": weights(0.3, 0.6), "parameters": {"nuslerp_flatten": False}},
    "nuslerp_columns": {"merge_method": "nuslerp", "models": weights(0.3, 0.6),
                        "parameters": {"nuslerp_flatten": False, "nuslerp_row_wise": True}},
    "multislerp": {"models": weights(0.3, 0.5, 0.4)},
    "multislerp_base": {"merge_method": "multislerp", **TASK, "models": weights(0.3, 0.5, 0.4)},
    "karcher": {"models": models({}, {}, {})},
    "task_arithmetic": {**TASK, "models": weights(0.5, -0.3, 0.2), "parameters": {"lambda": 0.8}},
    "ties": {**TASK, "models": weights(0.5, 0.3, 0.8, density=0.4)},
    "breadcrumbs": {**TASK, "models": weights(0.5, 0.3, density=0.7, gamma=0.05)},
    "breadcrumbs_ties": {**TASK, "models": weights(0.5, 0.3, density=0.7, gamma=0.05)},
    "dare_linear": {**TASK, "models": weights(0.5, 0.3, density=0.5)},
    "dare_ties": {**TASK, "models": weights(0.5, 0.3, density=0.5)},
    "della": {**TASK, "models": weights(0.5, 0.3, density=0.5, epsilon=0.2)},
    "della_linear": {**TASK, "models": weights(0.5, 0.3, density=0.5, epsilon=0.2)},
    "sce": {**TASK, "models": models({}, {}, {}), "parameters": {"select_topk": 0.3}},
    "model_stock": {**TASK, "models": models({}, {}, {})},
    "model_stock_rows": {"merge_method": "model_stock", **TASK, "models": models({}, {}), "parameters": {"filter_wise": True}},
    "nearswap": {**TASK, "models": models({}), "parameters": {"t": [0.001, "1e-2"]}},
    "arcee_fusion": {**TASK, "models": models({})},
    "ram": {**TASK, "models": models({}, {}, {}), "parameters": {"epsilon": 0.01}},
    "ramplus_tl": {**TASK, "models": models({}, {}, {}), "parameters": {"epsilon": 0.01, "r": 0.3}},
    "stack": {"merge_method": "passthrough", "slices": [{"sources": [{"model": "one", "layer_range": [0, 3]}]},
                                                        {"sources": [{"model": "two", "layer_range": [1, 4]}]}]},
    "slices": {"merge_method": "linear", "slices": [
        {"sources": [{"model": "one", "layer_range": [0, 2], "parameters": {"weight": [0, 1]}},
                     {"model": "two", "layer_range": [2, 4], "parameters": {"weight": 1}}]},
        {"sources": [{"model": "three", "layer_range": [3, 4], "parameters": {"weight": 1}}]}]},
}


RECIPES["modules"] = {"merge_method": "linear", "parameters": {"weight": 1}, "modules": {
    "encoder": {"slices": [
        {"sources": [{"model": "t5", "layer_range": [0, 2], "parameters": {"weight": [0.2, 0.9]}},
                     {"model": "t5b", "layer_range": [1, 3]}]},
        {"sources": [{"model": "t5b", "layer_range": [1, 3]}]}]},
    "decoder": {"models": [{"model": "t5"}, {"model": "t5b", "parameters": {"weight": [0, 1]}}]},
    "shared": {"models": [{"model": "t5"}, {"model": "t5b"}]}}}
CHOOSING = ("ties", "breadcrumbs", "breadcrumbs_ties", "sce")


def in_float32(recipe):
    """The same recipe of the models in float32."""
    return {**recipe, "base_model": "base32",
            "models": [{**entry, "model": entry["model"] + "32"} for entry in recipe["models"]]}


def load(folder):
    tensors = {}
    for path in pathlib.Path(folder).glob("*.safetensors"):
        tensors.update(load_file(path))
    return tensors


def one_rounding(x, bits):
    return torch.exp2(torch.floor(torch.log2(x.abs().clamp_min(2.0**-60))) - (bits - 1))


def compare(name, method, theirs, ours):
    assert set(theirs) == set(ours), (name, set(theirs) ^ set(ours))
    wrong = total = 0
    for tensor, reference in theirs.items():
        found = ours[tensor]
        assert found.shape == reference.shape and found.dtype == reference.dtype, (name, tensor)
        a, b = reference.double(), found.double()
        if method.startswith(("dare", "della")):
            assert abs(a.norm() / b.norm() - 1) < RANDOM, (name, tensor)
            continue
        # Where the sum of large terms is small, rounding of the terms in float32 shows.
        allowed = torch.maximum(one_rounding(a, 8), one_rounding(b, 8)) * 1.001 + a.abs().max() * 1e-6
        wrong += int(((a - b).abs() > allowed).sum())
        total += a.numel()
    chooses = method.startswith(("ties", "breadcrumbs", "sce", "arcee")) and "32" not in name
    assert wrong <= (AT_THRESHOLD if chooses else OTHERS) * total, (name, wrong, total)
    return wrong, total


def check(name, recipe, command):
    recipe = {"merge_method": name, **recipe, "dtype": "float32", "out_dtype": "bfloat16"}
    text = yaml.safe_dump(recipe, sort_keys=False)
    pathlib.Path(f"{name}.yml").write_text(text)
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), f"{name}.theirs",
              MergeOptions(random_seed=1, quiet=True, write_model_card=False, copy_tokenizer=False))
    subprocess.run([command, "merge", f"{name}.yml", "-o", f"{name}.ours", "-q"], check=True)
    wrong, total = compare(name, recipe["merge_method"], load(f"{name}.theirs"), load(f"{name}.ours"))
    theirs, ours = (json.loads(pathlib.Path(f"{name}.{who}/config.json").read_text()) for who in ("theirs", "ours"))
    for key in ("num_hidden_layers", "vocab_size", "architectures", "dtype"):
        assert theirs.get(key) == ours.get(key), (name, key, theirs.get(key), ours.get(key))
    print(f"{name}: {wrong} of {total} elements beyond one rounding")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_models()
        make_t5()
        for one, settings in RECIPES.items():
            check(one, settings, program)
        for one in CHOOSING:
            check(f"{one}32", {"merge_method": one, **in_float32(RECIPES[one])}, program)
