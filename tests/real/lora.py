"""Compares LoRA merging, extraction and baking with PEFT.

    python tests/real/lora.py COMMAND [CASE...]

needs torch, transformers and peft. Models are tiny and random: Llama, BERT, T5, Qwen2-MoE. For each
of them: every combination type of add_weighted_adapter (types that draw random numbers at density
1, where nothing is random); KnOTS and Core Space against their definitions; results are loaded by
PEFT, and logits compared; merge_and_unload against baking; an adapter that is extracted from a full
fine-tune, loaded by PEFT.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import peft
import torch
import transformers
from peft.utils import merge_utils
from safetensors.torch import load_file

COMMAND = str(pathlib.Path(sys.argv[1]).resolve())
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
failures = 0


def run(*arguments, check=True):
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done


def verify(what, difference, tolerance):
    global failures
    good = difference <= tolerance
    failures += not good
    print(f"{'ok ' if good else 'BAD'} {what}: {difference:.1e} (at most {tolerance:.0e})")


def difference(a, b):
    """Relative to the largest magnitude."""
    a, b = a.double(), b.double()
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


# ---- models --------------------------------------------------------------------------------------

def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False))


def llama_tied():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True))


def bert():
    return transformers.BertForSequenceClassification(transformers.BertConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=32, num_labels=3))


def t5():
    return transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
        decoder_start_token_id=0))


def qwen2_moe():
    return transformers.Qwen2MoeForCausalLM(transformers.Qwen2MoeConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=24,
        shared_expert_intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, decoder_sparse_step=1))


MODELS = {
    "llama": (llama, ["q_proj", "v_proj", "down_proj"]),
    "llama_tied": (llama_tied, ["q_proj", "up_proj"]),
    "bert": (bert, ["query", "value"]),
    "t5": (t5, ["q", "v", "wo"]),
    "qwen2_moe": (qwen2_moe, ["q_proj", "v_proj"]),
}

INPUT = torch.tensor([[3, 17, 42, 5, 60, 21, 9]])


@torch.no_grad()
def logits(model):
    model.eval()
    more = {"decoder_input_ids": INPUT} if model.config.is_encoder_decoder else {}
    return model(input_ids=INPUT, **more).logits


def load(build, folder):
    return type(build()).from_pretrained(folder, dtype=torch.float32)


def fill(model, what, scale, seed):
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if what(name):
            parameter.data = torch.randn(parameter.shape) * scale


def make_adapters(build, targets, folder, ranks=(4, 4, 4)):
    """A base and three adapters of it, with different alphas."""
    torch.manual_seed(0)
    base = build()
    fill(base, lambda name: "norm" not in name.lower(), 0.1, 1)
    base.save_pretrained(folder / "base")
    for i, rank in enumerate(ranks):
        model = peft.get_peft_model(load(build, folder / "base"), peft.LoraConfig(
            r=rank, lora_alpha=(8, 4, 6)[i], target_modules=targets))
        fill(model, lambda name: "lora_" in name, 0.1, 10 + i)
        model.save_pretrained(folder / f"lora{i}")
    return [folder / f"lora{i}" for i in range(len(ranks))]


# ---- merging adapters ----------------------------------------------------------------------------

WEIGHTS = [0.7, 0.5, -0.3]
DENSE = {"density": 0.5}
TYPES = {
    "cat": {}, "linear": {}, "svd": {}, "ties": DENSE, "ties_svd": DENSE,
    "dare_ties": {"density": 1.0}, "dare_linear": {"density": 1.0},
    "dare_ties_svd": {"density": 1.0}, "dare_linear_svd": {"density": 1.0},
    "magnitude_prune": DENSE, "magnitude_prune_svd": DENSE,
}


def updates(model, name="default"):
    """B·A with its scale of every module."""
    return {path: module.get_delta_weight(name) for path, module in model.named_modules()
            if isinstance(module, peft.tuners.lora.LoraLayer) and name in module.scaling}


def with_adapters(build, folder, adapters):
    model = peft.PeftModel.from_pretrained(load(build, folder / "base"), adapters[0],
                                           adapter_name="a0")
    for i, adapter in enumerate(adapters[1:], 1):
        model.load_adapter(adapter, adapter_name=f"a{i}")
    return model


def compare_types(label, build, folder, adapters):
    names = [f"a{i}" for i in range(len(adapters))]
    for kind, settings in TYPES.items():
        for signs in ("total", "frequency") if label == "llama" and "ties" in kind else ("total",):
            model = with_adapters(build, folder, adapters)
            model.base_model.add_weighted_adapter(
                names, WEIGHTS, "merged", combination_type=kind, majority_sign_method=signs,
                **settings)
            model.set_adapter("merged")
            expected, wanted = updates(model, "merged"), logits(model)
            out = folder / f"{kind}_{signs}"
            parameters = ["-p", "weights=" + ",".join(map(str, WEIGHTS))]
            for name, value in settings.items():
                parameters += ["-p", f"{name}={value}"]
            if "ties" in kind:
                parameters += ["-p", f"majority_sign_method={signs}"]
            run("lora", "merge", kind, *adapters, *parameters, "-o", out)
            ours = peft.PeftModel.from_pretrained(load(build, folder / "base"), out)
            found = updates(ours)
            assert found.keys() == expected.keys()
            worst = max(difference(found[path], expected[path]) for path in expected)
            verify(f"{label} {kind} {signs}", worst, 1e-5)
            verify(f"{label} {kind} {signs} logits", difference(logits(ours), wanted), 1e-5)


def basis(matrix):
    """The left singular vectors whose values are above rounding."""
    u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, s > s[0] * max(matrix.shape) * torch.finfo(torch.float32).eps]


def in_space(space, model, path, names, density):
    """A module merged in the space of KnOTS or of Core Space, with PEFT's own TIES."""
    module = model.get_submodule(path)
    deltas = [module.get_delta_weight(name).double() for name in names]
    if space == "knots":
        left, right = basis(torch.cat(deltas, dim=1)), torch.eye(deltas[0].shape[1]).double()
    else:
        left = basis(torch.cat([module.lora_B[name].weight.double() * module.scaling[name]
                                for name in names], dim=1))
        right = basis(torch.cat([module.lora_A[name].weight.double() for name in names]).T)
    coordinates = [left.T @ delta @ right for delta in deltas]
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    merged = merge_utils.ties(coordinates, weights, density) if density else (
        merge_utils.task_arithmetic(coordinates, weights))
    return left @ merged @ right.T


def compare_spaces(label, build, folder, adapters):
    """KnOTS and Core Space against their definitions, at full rank."""
    names = [f"a{i}" for i in range(len(adapters))]
    model = with_adapters(build, folder, adapters)
    for kind, density in (("knots_linear", 0), ("knots_ties", 0.4), ("core_linear", 0),
                          ("core_ties", 0.4)):
        parameters = ["-p", "weights=" + ",".join(map(str, WEIGHTS))]
        parameters += ["-p", f"density={density}"] if density else []
        run("lora", "merge", kind, *adapters, *parameters, "--rank", 48, "-o", folder / kind)
        found = updates(peft.PeftModel.from_pretrained(load(build, folder / "base"), folder / kind))
        worst = max(difference(update, in_space(kind.split("_")[0], model, path, names, density))
                    for path, update in found.items())
        verify(f"{label} {kind}", worst, 1e-5)


def compare_ranks(label, build, targets, folder):
    """Adapters of different ranks, alphas and targets."""
    adapters = make_adapters(build, targets, folder, (2, 4, 8))
    few = peft.get_peft_model(load(build, folder / "base"), peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=targets[:1], use_rslora=True))
    fill(few, lambda name: "lora_" in name, 0.1, 33)
    few.save_pretrained(folder / "few")
    adapters[2] = folder / "few"
    for kind in ("cat", "svd"):
        model = with_adapters(build, folder, adapters)
        model.base_model.add_weighted_adapter(["a0", "a1", "a2"], WEIGHTS, "merged",
                                              combination_type=kind)
        expected = updates(model, "merged")
        run("lora", "merge", kind, *adapters, "-p", "weights=0.7,0.5,-0.3", "-o", folder / kind)
        found = updates(peft.PeftModel.from_pretrained(load(build, folder / "base"), folder / kind))
        assert found.keys() == expected.keys()
        verify(f"{label} {kind} of different ranks",
               max(difference(found[path], expected[path]) for path in expected), 1e-5)
    refused = run("lora", "merge", "linear", *adapters, "-p", "weights=1", "-o", folder / "no",
                  check=False)
    verify(f"{label} linear of different ranks is refused", int(refused.returncode != 1), 0)


# ---- baking and extracting -----------------------------------------------------------------------

def tensors_of(folder):
    return load_file(folder / "model.safetensors")


def compare_baking(label, build, folder, adapters):
    merged = peft.PeftModel.from_pretrained(load(build, folder / "base"),
                                            adapters[0]).merge_and_unload()
    merged.save_pretrained(folder / "expected")
    run("lora", "bake", adapters[0], "-o", folder / "baked")
    expected, found = tensors_of(folder / "expected"), tensors_of(folder / "baked")
    assert expected.keys() == found.keys()
    verify(f"{label} baked", max(difference(found[name], expected[name]) for name in expected),
           1e-6)


def compare_experts(label, build, folder):
    """An adapter of fused experts, baked into files that have a tensor per expert."""
    adapters = []
    for i in range(2):
        model = peft.get_peft_model(load(build, folder / "base"), peft.LoraConfig(
            r=3, lora_alpha=6, target_modules=["q_proj"],
            target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]))
        fill(model, lambda name: "lora_" in name, 0.1, 70 + i)
        adapters.append(folder / f"experts{i}")
        model.save_pretrained(adapters[i])
    run("lora", "bake", adapters[0], "-o", folder / "baked_experts")
    merged = peft.PeftModel.from_pretrained(load(build, folder / "base"), adapters[0])
    merged = merged.merge_and_unload()
    merged.save_pretrained(folder / "expected_experts")
    expected, found = (tensors_of(folder / name) for name in ("expected_experts", "baked_experts"))
    assert expected.keys() == found.keys()
    verify(f"{label} experts baked", max(difference(found[name], expected[name])
                                         for name in expected), 1e-6)
    # The sum of both is what baking one after the other gives.
    run("lora", "merge", "cat", *adapters, "-p", "weights=1", "-o", folder / "both")
    run("lora", "bake", *adapters, "--base", folder / "base", "-o", folder / "in_turn")
    ours = peft.PeftModel.from_pretrained(load(build, folder / "base"), folder / "both")
    verify(f"{label} experts by cat", difference(logits(ours), logits(load(
        build, folder / "in_turn"))), 1e-5)


def compare_extracting(label, build, folder):
    """At full rank an adapter of a full fine-tune is the fine-tuned model."""
    tuned = load(build, folder / "base")
    torch.manual_seed(5)
    for parameter in tuned.parameters():
        parameter.data += torch.randn(parameter.shape) * 0.02
    tuned.save_pretrained(folder / "tuned")
    run("lora", "extract", folder / "tuned", "--base", folder / "base", "--rank", 48, "-o",
        folder / "extracted")
    ours = peft.PeftModel.from_pretrained(load(build, folder / "base"), folder / "extracted")
    verify(f"{label} extracted at full rank", difference(logits(ours), logits(tuned)), 1e-4)
    run("lora", "bake", folder / "extracted", "--base", folder / "base", "-o", folder / "again")
    expected, found = tensors_of(folder / "tuned"), tensors_of(folder / "again")
    verify(f"{label} extracted and baked", max(difference(found[name], expected[name])
                                               for name in expected), 1e-5)
    run("lora", "extract", folder / "tuned", "--base", folder / "base", "--energy", 0.6, "-o",
        folder / "energy")
    provenance = json.loads((folder / "energy" / "mergecraft.json").read_text())
    verify(f"{label} energy", max(0.6 - module["energy"] for module in provenance["modules"]), 0)
    ours = peft.PeftModel.from_pretrained(load(build, folder / "base"), folder / "energy")
    base, tuned_state = load(build, folder / "base").state_dict(), tuned.state_dict()
    worst = 0
    for path, update in updates(ours).items():
        name = path.removeprefix("base_model.model.") + ".weight"
        if name not in base:  # of experts: compared by the logits at full rank
            continue
        change = (tuned_state[name] - base[name]).double()
        values = torch.linalg.svdvals(change)
        module = next(m for m in provenance["modules"] if m["path"] + ".weight" == name)
        least = values[module["rank"]:].square().sum().sqrt()
        error = (change - update.double()).norm()
        worst = max(worst, float((error - least) / values.norm()))
    verify(f"{label} error against the best approximation", worst, 1e-6)


def main():
    cases = sys.argv[2:] or list(MODELS)
    for label in cases:
        build, targets = MODELS[label]
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            adapters = make_adapters(build, targets, folder)
            if label != "llama_tied":
                compare_types(label, build, folder, adapters)
            if label == "llama":
                compare_spaces(label, build, folder, adapters)
            compare_baking(label, build, folder, adapters)
            compare_extracting(label, build, folder)
            if label == "qwen2_moe":
                compare_experts(label, build, folder)
            (folder / "ranks").mkdir()
            compare_ranks(label, build, targets, folder / "ranks")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
