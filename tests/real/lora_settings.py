"""Compares baking with PEFT for each setting of LoraConfig.

    python tests/real/lora_settings.py COMMAND [CASE...]

needs torch, transformers and peft. Every adapter has random factors. The tensors of the baked model
equal those of merge_and_unload, and the logits those of the adapter in PEFT. PEFT merges an update
of an output head into the tied embeddings, too, which changes its logits: there only the logits
count. An adapter that PEFT cannot merge, or whose update is not a product of two factors, is
refused.
"""
import pathlib
import sys
import tempfile

import peft
import torch
import transformers

import lora

QKV = dict(r=4, target_modules=["q_proj"])
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def gpt2():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=4))


def mixtral():
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4))


# How results are compared: tensors and logits; with logits alone, since PEFT's merge differs from
# its adapter or needs a resized base; with tensors alone, since PEFT's files lack what its adapter
# does to tied tensors.
BOTH, LOGITS, TENSORS, REFUSED = range(4)

CASES = {
    "patterns": (lora.llama, BOTH, dict(
        r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"],
        rank_pattern={r"layers\.1\..*(q|v)_proj": 2, "^model.layers.0.self_attn.q_proj": 3},
        alpha_pattern={r"model\.layers\.\d+\.mlp\.up_proj": 9, r"[\w.]+down_proj": 11})),
    "rank-stabilised DoRA": (lora.llama, BOTH, dict(
        r=4, lora_alpha=6, target_modules=["q_proj", "o_proj", "gate_proj"], use_rslora=True,
        use_dora=True, alpha_pattern={"q_proj": 3})),
    "negative alpha": (lora.llama, BOTH, dict(QKV, lora_alpha=-6)),
    "embedding and head": (lora.llama, BOTH, dict(
        r=4, target_modules=["embed_tokens", "lm_head", "q_proj"])),
    "DoRA of an embedding": (lora.llama, BOTH, dict(
        r=4, target_modules=["embed_tokens"], use_dora=True)),
    "tied embedding": (lora.llama_tied, BOTH, dict(r=4, target_modules=["embed_tokens"])),
    "tied head": (lora.llama_tied, LOGITS, dict(r=4, target_modules=["lm_head", "q_proj"])),
    "tied embedding and head": (lora.llama_tied, LOGITS, dict(
        r=4, target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True)),
    "saved tied head": (lora.llama_tied, BOTH, dict(QKV, modules_to_save=["lm_head"])),
    "saved tied embedding": (lora.llama_tied, BOTH, dict(QKV, modules_to_save=["embed_tokens"])),
    "saved both": (lora.llama_tied, BOTH, dict(QKV, modules_to_save=["embed_tokens", "lm_head"])),
    "saved norms": (lora.llama, BOTH, dict(QKV, modules_to_save=["input_layernorm", "norm"])),
    "bias all": (lora.bert, BOTH, dict(
        r=4, target_modules=["query", "dense"], bias="all", task_type="SEQ_CLS")),
    "bias lora_only": (lora.bert, BOTH, dict(
        r=4, target_modules=["query", "value"], bias="lora_only", task_type="SEQ_CLS")),
    "embeddings of BERT": (lora.bert, BOTH, dict(
        r=4, target_modules=["word_embeddings", "query"], modules_to_save=["classifier"])),
    "some layers": (lora.llama, BOTH, dict(
        r=4, target_modules=["q_proj", "up_proj"], layers_to_transform=[1],
        layers_pattern="layers")),
    "excluded modules": (lora.llama, BOTH, dict(
        r=4, target_modules="all-linear", exclude_modules=["v_proj"])),
    "T5": (lora.t5, TENSORS, dict(r=4, target_modules=["q", "v", "wi", "wo", "shared"])),
    "T5 with a saved head": (lora.t5, BOTH, dict(
        r=4, target_modules=["q"], modules_to_save=["lm_head"])),
    "Conv1D": (gpt2, TENSORS, dict(
        r=4, target_modules=["c_attn", "c_proj", "c_fc", "wte", "wpe"], fan_in_fan_out=True)),
    "DoRA of Conv1D": (gpt2, BOTH, dict(
        r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, use_dora=True)),
    "experts": (lora.qwen2_moe, BOTH, dict(
        r=3, lora_alpha=5, target_modules=["q_proj", "gate_proj"], target_parameters=EXPERTS)),
    "experts in another order": (lora.qwen2_moe, BOTH, dict(
        r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj"],
        target_parameters=EXPERTS[::-1], alpha_pattern={"experts": 9, "experts.down_proj": 2})),
    "experts of a block": (lora.qwen2_moe, BOTH, dict(
        r=3, target_modules=[], target_parameters=["1.mlp.experts.down_proj"])),
    "router": (lora.qwen2_moe, BOTH, dict(
        r=3, target_modules=["q_proj"], target_parameters=["mlp.gate.weight"])),
    "experts of Mixtral": (mixtral, BOTH, dict(
        r=3, lora_alpha=5, target_modules=["q_proj"], target_parameters=EXPERTS)),
    "grown vocabulary": (lora.llama, LOGITS, dict(
        QKV, modules_to_save=["embed_tokens", "lm_head"], tokens=70)),
    "grown vocabulary, resized only": (lora.llama, LOGITS, dict(QKV, tokens=70)),
    "grown tied vocabulary": (lora.llama_tied, LOGITS, dict(
        r=4, target_modules=["q_proj", "embed_tokens"], tokens=70)),
    "grown and saved tied vocabulary": (lora.llama_tied, LOGITS, dict(
        QKV, modules_to_save=["embed_tokens"], tokens=70)),
    "biases in factors": (lora.bert, REFUSED, dict(
        r=4, target_modules=["query"], lora_bias=True, task_type="SEQ_CLS")),
    "trained tokens": (lora.llama, REFUSED, dict(QKV, trainable_token_indices=[1, 2])),
    "activated LoRA": (lora.llama, REFUSED, dict(QKV, alora_invocation_tokens=[1, 2])),
}


def make(build, settings, folder):
    """A base and an adapter of it, both random; `tokens`: of the vocabulary that it was given."""
    settings = dict(settings)
    tokens = settings.pop("tokens", None)
    torch.manual_seed(1)
    base = build()
    for name, parameter in base.named_parameters():
        norm = "norm" in name.lower() and "weight" in name
        parameter.data = torch.randn_like(parameter) * 0.2 + norm
    base.save_pretrained(folder / "base")
    base = lora.load(build, folder / "base")
    if tokens:
        base.resize_token_embeddings(tokens, mean_resizing=False)
    model = peft.get_peft_model(base, peft.LoraConfig(**settings))
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            noise = torch.rand_like(parameter) + 0.5 if "magnitude" in name else (
                parameter.data + torch.randn_like(parameter) * 0.3)
            parameter.data = noise
    model.save_pretrained(folder / "adapter", save_embedding_layers=bool(tokens) or "auto")
    return model


def compare(label, folder):
    build, how, settings = CASES[label]
    model = make(build, settings, folder)
    wanted = lora.logits(model)
    done = lora.run("lora", "bake", folder / "adapter", "--base", folder / "base", "-o",
                    folder / "baked", check=False)
    if how == REFUSED:
        lora.verify(f"{label}: refused", int(done.returncode != 1), 0)
        return
    assert done.returncode == 0, done.stderr
    if how != LOGITS:
        model.merge_and_unload().save_pretrained(folder / "merged")
        expected, found = (lora.tensors_of(folder / name) for name in ("merged", "baked"))
        assert expected.keys() <= found.keys()
        lora.verify(f"{label}: tensors", max(lora.difference(found[name], expected[name])
                                             for name in expected), 1e-6)
    if how != TENSORS:
        baked = lora.logits(lora.load(build, folder / "baked"))
        lora.verify(f"{label}: logits", lora.difference(baked, wanted), 1e-5)


def main():
    for label in sys.argv[2:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            compare(label, pathlib.Path(folder))
    sys.exit(lora.failures > 0)


if __name__ == "__main__":
    main()
