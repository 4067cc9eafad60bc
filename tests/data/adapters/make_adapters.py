"""Writes the adapters that tests/model/adapter.c opens: bases, adapters and what PEFT merges
them to.

    python tests/data/adapters/make_adapters.py

needs torch, transformers, peft and safetensors. Every folder NAME holds base/ and adapter/ as
save_pretrained writes them, and merged.safetensors: the base's tensors after merge_and_unload,
under the names of the base's file. kohya has the same update under kohya's names.
"""
import json
import pathlib
import shutil

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent


def llama():
    config = transformers.LlamaConfig(
        vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False)
    return transformers.LlamaForCausalLM(config)


def gpt2():
    config = transformers.GPT2Config(vocab_size=24, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def bert():
    config = transformers.BertConfig(
        vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=8, num_labels=3)
    return transformers.BertForSequenceClassification(config)


def bare_bert():
    return bert().bert


def t5():
    config = transformers.T5Config(
        vocab_size=24, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2)
    return transformers.T5ForConditionalGeneration(config)


def gpt_oss():
    config = transformers.GptOssConfig(
        vocab_size=24, hidden_size=8, intermediate_size=8, num_hidden_layers=1, head_dim=4,
        num_attention_heads=2, num_key_value_heads=1, num_local_experts=3, num_experts_per_tok=2)
    return transformers.GptOssForCausalLM(config)


CASES = {
    "plain": (llama, dict(r=2, lora_alpha=6, target_modules=["q_proj", "down_proj"])),
    "patterns": (llama, dict(
        r=2, lora_alpha=6, target_modules=["q_proj", "v_proj", "up_proj"], use_rslora=True,
        rank_pattern={"v_proj": 3}, alpha_pattern={r"layers\.1\..*q_proj": 5, "up_proj": 7})),
    "dora": (llama, dict(r=2, lora_alpha=3, target_modules=["k_proj", "o_proj"], use_dora=True)),
    "embedding": (llama, dict(
        r=2, lora_alpha=4, target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"])),
    "conv1d": (gpt2, dict(
        r=2, lora_alpha=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    "conv1d_dora": (gpt2, dict(
        r=2, lora_alpha=4, target_modules=["c_proj"], fan_in_fan_out=True, use_dora=True)),
    "classifier": (bert, dict(
        r=2, lora_alpha=4, target_modules=["query", "dense"], bias="all", task_type="SEQ_CLS")),
    "t5": (t5, dict(r=2, lora_alpha=4, target_modules=["q", "wo"])),
    "experts": (gpt_oss, dict(
        r=2, lora_alpha=4, target_modules=["q_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
}


def randomize(module, scale=0.5):
    """Every parameter gets values that are exact in bfloat16, so that files stay small."""
    for parameter in module.parameters():
        values = torch.randn(parameter.shape) * scale
        parameter.data = values.bfloat16().to(parameter.dtype)


def make(name, build, settings):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(sum(map(ord, name)))
    model = build().float()
    randomize(model)
    model.save_pretrained(folder / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings))
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name or "modules_to_save" in parameter_name:
            parameter.data = (torch.randn(parameter.shape) * 0.3).bfloat16().float()
        elif parameter_name.endswith(".bias") and settings.get("bias") == "all":
            parameter.data = (torch.randn(parameter.shape) * 0.3).bfloat16().float()
    adapted.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    merged = adapted.merge_and_unload()
    merged.save_pretrained(folder / "merged")
    tensors = load_file(folder / "merged" / "model.safetensors")
    save_file(tensors, folder / "merged.safetensors")
    shutil.rmtree(folder / "merged")
    (folder / "base" / "generation_config.json").unlink(missing_ok=True)
    print(name, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))


def make_kohya():
    """The adapter of "plain" as one file: flattened names, and alpha beside the factors."""
    folder = HERE / "plain" / "adapter"
    alpha = json.loads((folder / "adapter_config.json").read_text())["lora_alpha"]
    tensors = {}
    for name, value in load_file(folder / "adapter_model.safetensors").items():
        path, factor, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
        flat = "lora_unet_" + path.replace(".", "_")
        ending = {"lora_A": "lora_down", "lora_B": "lora_up"}[factor]
        tensors[f"{flat}.{ending}.weight"] = value
        tensors[f"{flat}.alpha"] = torch.tensor(float(alpha))
    tensors["lora_te_text_model_q.lora_down.weight"] = torch.zeros(1, 4)
    tensors["lora_te_text_model_q.lora_up.weight"] = torch.zeros(4, 1)
    save_file(tensors, HERE / "plain" / "kohya.safetensors")


if __name__ == "__main__":
    for case, (build, settings) in CASES.items():
        make(case, build, settings)
    make_kohya()
