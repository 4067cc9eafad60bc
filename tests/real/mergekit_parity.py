"""Compares recipes with mergekit 0.1.5: names, shapes, dtypes, configuration, values within one
rounding.

    python tests/real/mergekit_parity.py build/release/mergecraft

Needs mergekit 0.1.5 with its torch and transformers. The models are small Llamas and T5s made here.
mergekit runs with `dtype: float32`, so that it too rounds once; random methods are compared by
their norms. arcee_fusion runs with float64: in float32 the noise of mergekit's softmax decides
about elements near the threshold.

Methods that keep the largest elements choose among equal magnitudes at the threshold, and task
vectors of bfloat16 have many. mergekit's choice is arbitrary (torch.topk). The test finds those
elements by sorting, and no others may differ. The same recipes also run on models in float32, whose
task vectors have next to no equal magnitudes: there the elements that differ must be below 0.1 %.
"""

import importlib.resources
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import jinja2  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import BPE  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, T5Config,
        T5ForConditionalGeneration)

NAMES = ("base", "one", "two", "three")
# The share of elements that may differ by an arbitrary choice, of models in float32; the difference
# of norms of random methods.
CHOICES, RANDOM = 1e-3, 5e-2


def make_models():
    config = LlamaConfig(vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=4,
                         num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64,
                         tie_word_embeddings=False)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    base = {name: torch.randn(p.shape) * 0.05 + ("norm" in name) for name,
            p in model.named_parameters()}
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
                      num_decoder_layers=4, feed_forward_proj="gated-gelu",
                      tie_word_embeddings=False)
    for seed, folder in enumerate(("t5", "t5b")):
        torch.manual_seed(seed)
        T5ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)


def models(*parameters):
    return [{"model": name, "parameters": p} if p else {"model": name} for name,
            p in zip(NAMES[1:], parameters)]


def weights(*values, **more):
    return models(*[{"weight": value, **more} for value in values])


TASK = {"base_model": "base"}
RECIPES = {
    "linear": {"models": weights(1, 2, [0.2, 0.8])},
    "linear_sum": {"merge_method": "linear", "models": weights(0.5, 0.7),
                   "parameters": {"normalize": False}},
    "slerp": {**TASK, "models": models({}),
              "parameters": {"t": [{"filter": "mlp", "value": [0, 0.5, 1]}, {"value": 0.3}]}},
    "nuslerp": {"models": weights(0.3, [0.4, 0.9])},
    "nuslerp_rows": {"merge_method": "nuslerp", **TASK, "models": weights(0.3, 0.6),
                     "parameters": {"nuslerp_flatten": False}},
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
    "model_stock_rows": {"merge_method": "model_stock", **TASK, "models": models({}, {}),
                         "parameters": {"filter_wise": True}},
    "nearswap": {**TASK, "models": models({}), "parameters": {"t": [0.001, "1e-2"]}},
    "arcee_fusion": {**TASK, "models": models({})},
    "ram": {**TASK, "models": models({}, {}, {}), "parameters": {"epsilon": 0.01}},
    "ramplus_tl": {**TASK, "models": models({}, {}, {}), "parameters": {"epsilon": 0.01, "r": 0.3}},
    "stack": {"merge_method": "passthrough",
              "slices": [{"sources": [{"model": "one", "layer_range": [0, 3]}]},
                                                        {"sources": [{"model": "two",
                                                                "layer_range": [1, 4]}]}]},
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
CHOOSING = ("ties", "breadcrumbs", "breadcrumbs_ties", "sce", "arcee_fusion")


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


def equal_to_the_ranks(keys, ranks, tolerance=0.0):
    """Elements whose key equals that of a rank at which selection begins or ends, if the element
    before that rank has it too."""
    ordered, equal = keys.flatten().sort().values, torch.zeros_like(keys, dtype=torch.bool)
    for rank in ranks:
        if 0 < rank < len(ordered) and ordered[rank] - ordered[rank
                                                               - 1] <= tolerance * ordered[rank]:
            equal |= (keys - ordered[rank]).abs() <= tolerance * ordered[rank]
    return equal


def equal_to_the_outlier_limit(task, base):
    """Elements of arcee_fusion that are as important as the limit: rounding decides about them."""
    p, q = (torch.softmax(values, -1) + 1e-8 for values in (base + task, base))
    keys = task.abs() * (p * (p / q).log()).sum(-1, keepdim=True)
    low, median, high = (keys.flatten().sort().values[int(share * (keys.numel() - 1))]
                         for share in (0.25, 0.5, 0.75))
    return (keys - (median + 1.5 * (high - low))).abs() <= 1e-6 * keys.max()


def arbitrary(recipe, tensor, inputs):
    """The elements about which mergekit decides arbitrarily."""
    method = recipe["merge_method"]
    tasks = [inputs[entry["model"]][tensor].float() - inputs[recipe["base_model"]][tensor].float()
             for entry in recipe["models"]]
    size = tasks[0].numel()
    if method == "sce":
        keys = torch.stack(tasks).double().var(dim=0, correction=0)
        kept = int(recipe["parameters"]["select_topk"] * int((keys > 0).sum()))
        return equal_to_the_ranks(keys, [size - kept], 1e-6)
    if method == "arcee_fusion":
        return equal_to_the_outlier_limit(tasks[0].double(),
                                          inputs[recipe["base_model"]][tensor].double())
    found = torch.zeros_like(tasks[0], dtype=torch.bool)
    for task, entry in zip(tasks, recipe["models"]):
        kept = int(entry["parameters"]["density"] * size)
        top = int(entry["parameters"].get("gamma", 0) * size)
        bottom = max(0, size - kept - top)
        found |= equal_to_the_ranks(task.abs(), [bottom, bottom + kept])
    return found


def compare(name, recipe, theirs, ours):
    """Numbers of elements that differ by an arbitrary choice, and of all."""
    assert set(theirs) == set(ours), (name, set(theirs) ^ set(ours))
    chosen = total = 0
    method = recipe["merge_method"]
    chooses = method in CHOOSING
    named = [entry["model"]
             for entry in recipe["models"]] + [recipe["base_model"]] if chooses else []
    inputs = {folder: load(folder) for folder in named}
    for tensor, reference in theirs.items():
        found = ours[tensor]
        assert found.shape == reference.shape and found.dtype == reference.dtype, (name, tensor)
        a, b = reference.double(), found.double()
        if method.startswith(("dare", "della")):
            assert abs(a.norm() / b.norm() - 1) < RANDOM, (name, tensor)
            continue
        # Where the sum of large terms is small, rounding of the terms in float32 shows.
        allowed = torch.maximum(one_rounding(a, 8),
                                one_rounding(b, 8)) * 1.001 + a.abs().max() * 1e-6
        differs = (a - b).abs() > allowed
        if chooses:
            excused = differs & arbitrary(recipe, tensor, inputs)
            chosen += int(excused.sum())
            differs &= ~excused
        assert not differs.any(), (name, tensor, int(differs.sum()), a.numel())
        total += a.numel()
    assert not name.endswith("32") or chosen <= CHOICES * total, (name, chosen, total)
    return chosen, total


def check(name, recipe, command):
    wide = "float64" if recipe.get("merge_method", name) == "arcee_fusion" else "float32"
    recipe = {"merge_method": name, **recipe, "dtype": wide, "out_dtype": "bfloat16"}
    text = yaml.safe_dump(recipe, sort_keys=False)
    pathlib.Path(f"{name}.yml").write_text(text)
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), f"{name}.theirs",
              MergeOptions(random_seed=1, quiet=True, write_model_card=False, copy_tokenizer=False))
    subprocess.run([command, "merge", f"{name}.yml", "-o", f"{name}.ours", "-q"], check=True)
    chosen, total = compare(name, recipe, load(f"{name}.theirs"), load(f"{name}.ours"))
    theirs, ours = (json.loads(pathlib.Path(f"{name}.{who}/config.json").read_text())
                    for who in ("theirs", "ours"))
    for key in ("num_hidden_layers", "vocab_size", "architectures", "dtype"):
        assert theirs.get(key) == ours.get(key), (name, key, theirs.get(key), ours.get(key))
    print(f"{name}: {chosen} of {total} elements differ, all of equal magnitude at a threshold")


def render(template, conversation, prompt):
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = str
    return environment.from_string(template).render(messages=conversation,
                                                    add_generation_prompt=prompt, bos_token="<s>",
                                                    eos_token="</s>")


def give_tokenizer(folder):
    tokens = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>",
              "<|end_header_id|>", "<|eot_id|>",
              "[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"]
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.add_special_tokens(tokens)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>",
                            eos_token="</s>").save_pretrained(folder)


def check_templates(command):
    """The named chat templates give the text of mergekit's, whose alpaca, exaone and llama3 have
    white space that the models were not trained with."""
    talk = [{"role": role, "content": text} for role, text in
            (("system", "Be brief. "), ("user", " Hi\nthere"), ("assistant", "Hello "),
             ("user", "Bye"))]
    for folder, source in (("chat1", "one"), ("chat2", "two")):
        shutil.copytree(source, folder)
        give_tokenizer(folder)
    for name in ("alpaca", "chatml", "exaone", "llama3", "mistral"):
        subprocess.run([command, "merge", "soup", "chat1", "chat2", "--chat-template", name, "-o",
                        f"{name}.chat", "-q"], check=True)
        ours = pathlib.Path(f"{name}.chat/chat_template.jinja").read_text()
        theirs = (importlib.resources.files("mergekit")
                  / f"_data/chat_templates/{name}.jinja").read_text()
        for count in ((2, 4) if name == "mistral" else (1, 2, 3, 4)):
            for conversation, prompt in ((talk[:count], True), (talk[:count], False),
                                         (talk[1:count], True)):
                if not conversation:
                    continue
                both = [render(template, conversation, prompt) for template in (ours, theirs)]
                if name not in ("chatml", "mistral"):
                    both = ["".join(text.split()) for text in both]
                assert both[0] == both[1], (name, *both)
        if name == "alpaca":
            assert render(ours, talk[:2],
                          True) == "Be brief.\n\n### Instruction:\nHi\nthere\n\n### Response:\n"
    print("chat templates: the same text")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_models()
        make_t5()
        check_templates(program)
        for one, settings in RECIPES.items():
            check(one, settings, program)
        for one in CHOOSING:
            check(f"{one}32", {"merge_method": one, **in_float32(RECIPES[one])}, program)
