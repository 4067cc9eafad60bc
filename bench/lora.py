"""Measures LoRA merging, extraction and baking against PEFT and mergekit-extract-lora.

    python bench/lora.py [--blocks 1] [--adapters 8] [--rank 16] [--work DIR] [--only
    bake,svd,extract]

Shapes are those of Llama 3.2 1B (hidden 2048, intermediate 8192, 8 of 32 heads for keys and values)
with `--blocks` blocks and a vocabulary of 2,000: the matrices of a block are what counts.
Weights are random, bfloat16. Every row is two whole processes on the same files, one after the
other, ours three times (the fastest counts); the floor of baking copies the base (bench/floor).
PEFT's svd and mergekit-extract-lora decompose every matrix in full, at some seven seconds per
2048 × 8192.
"""

import argparse
import os
import pathlib
import sys
import tempfile

import measure

ROOT = pathlib.Path(__file__).resolve().parent.parent

PEFT_LOAD = """
import sys, torch, transformers, peft
folder, *adapters = sys.argv[1:-1]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
model = peft.PeftModel.from_pretrained(model, adapters[0], adapter_name="a0")
for i, adapter in enumerate(adapters[1:], 1):
    model.load_adapter(adapter, adapter_name=f"a{i}")
"""
PEFT_BAKE = PEFT_LOAD + """
model.base_model.set_adapter([f"a{i}" for i in range(len(adapters))])
names = [f"a{i}" for i in range(len(adapters))]
model.merge_and_unload(adapter_names=names).save_pretrained(sys.argv[-1])
"""
PEFT_SVD = PEFT_LOAD + """
names = [f"a{i}" for i in range(len(adapters))]
model.base_model.add_weighted_adapter(names, [1 / len(names)] * len(names), "merged",
                                      combination_type="svd", svd_rank=16)
model.save_pretrained(sys.argv[-1], selected_adapters=["merged"])
"""


def make(work, blocks, adapters, rank):
    """The base, a full fine-tune of it, and adapters."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=2000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=blocks,
        num_attention_heads=32, num_key_value_heads=8, head_dim=64, tie_word_embeddings=False)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(work / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    for i in range(adapters):
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn_like(parameter) * 0.02
        adapted.save_pretrained(work / f"lora{i}")
    model = adapted.unload()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            low = torch.randn(parameter.shape[0], 64) @ torch.randn(64, parameter.shape[1])
            parameter.data += (low * 1e-4 + torch.randn(parameter.shape) * 1e-4).bfloat16()
    model.save_pretrained(work / "tuned")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--only", default="bake,svd,extract")
    options = parser.parse_args()
    work = options.work or pathlib.Path(tempfile.mkdtemp(prefix="mergecraft-lora-"))
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "tuned").exists():
        if os.fork() == 0:  # torch's memory does not stay
            make(work, options.blocks, options.adapters, options.rank)
            os._exit(0)
        if os.wait()[1] != 0:
            sys.exit("the inputs cannot be made")
    command = str(options.build / "mergecraft")
    loras = [str(work / f"lora{i}") for i in range(options.adapters)]
    base, tuned, out = str(work / "base"), str(work / "tuned"), work / "out"
    weights = "weights=" + ",".join([str(1 / options.adapters)] * options.adapters)
    python = [sys.executable, "-W", "ignore", "-c"]
    extract = str(pathlib.Path(sys.executable).parent / "mergekit-extract-lora")
    jobs = {
        "bake": ([command, "lora", "bake", *loras, "--base", base, "-o", str(out), "--no-sync"],
                 [*python, PEFT_BAKE, base, *loras, str(out)]),
        "svd": ([command, "lora", "merge", "svd", *loras, "-p", weights, "--rank", "16", "-o",
                 str(out), "--no-sync"], [*python, PEFT_SVD, base, *loras, str(out)]),
        "extract": ([command, "lora", "extract", tuned, "--base", base, "--rank", "32", "-o",
                     str(out), "--no-sync"],
                    [extract, "--model", tuned, "--base-model", base, "--out-path", str(out),
                     "--max-rank", "32"]),
    }
    measure.table(["job", "ours s", "peer s", "peer / ours", "ours MB", "peer MB", "× floor"])
    for name in options.only.split(","):
        ours, peer = jobs[name]
        cost = min((measure.run(ours, out) for _ in range(3)), key=lambda cost: cost.seconds)
        floor = ""
        if name == "bake":
            file = str(work / "base" / "model.safetensors")
            copy = [str(options.build / "bench" / "floor"), str(out), str(os.path.getsize(file)),
                    file]
            floor = f"{cost.seconds / min(measure.run(copy, out).seconds for _ in range(3)):.2f}"
        theirs = measure.run(peer, out)
        measure.row([name, f"{cost.seconds:.2f}", f"{theirs.seconds:.2f}",
                     f"{theirs.seconds / cost.seconds:.1f}", f"{cost.resident / 1e6:.0f}",
                     f"{theirs.resident / 1e6:.0f}", floor])


if __name__ == "__main__":
    main()
