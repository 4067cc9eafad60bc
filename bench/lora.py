"""Measures LoRA baking, merging and extraction: against the floor, PEFT and mergekit-extract-lora.

    python bench/lora.py [--blocks 1] [--adapters 8] [--rank 16] [--large 40] [--runs 3]
                         [--work DIR] [--only floor,bake,svd,extract]

Shapes are those of Llama 3.2 1B (hidden 2048, intermediate 8192, 8 of 32 heads for keys and values)
with `--blocks` blocks and a vocabulary of 2,000: the matrices of a block are what counts. Weights
are random, bfloat16. Every row measures whole processes on the same files, in turn: ours and the
floor `--runs` times (medians), the peer once. The
floor (bench/floor) reads the base and writes as much.
In the job `floor` the base has `--large` blocks (40: 5 GB), and there is no peer. PEFT's svd and
mergekit-extract-lora decompose every matrix in full, at some seven seconds per 2048 × 8192.

Runs in an environment that has torch, transformers, peft and mergekit. Small shapes for a try:
--blocks 1 --large 1 --adapters 2 --rank 4 --only floor,bake.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import zlib

import checkpoint
import measure
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
HIDDEN, INNER, VOCABULARY = 2048, 8192, 2000
MODULES = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (512, HIDDEN),
           "self_attn.v_proj": (512, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
           "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
           "mlp.down_proj": (HIDDEN, INNER)}

PEFT_LOAD = """
import sys, torch, transformers, peft
folder, *adapters = sys.argv[1:-1]
names = [f"a{i}" for i in range(len(adapters))]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
model = peft.PeftModel.from_pretrained(model, adapters[0], adapter_name="a0")
for name, adapter in zip(names[1:], adapters[1:]):
    model.load_adapter(adapter, adapter_name=name)
"""
PEFT_BAKE = PEFT_LOAD + """
model.base_model.set_adapter(names)
model.merge_and_unload(adapter_names=names).save_pretrained(sys.argv[-1])
"""
PEFT_SVD = PEFT_LOAD + """
model.base_model.add_weighted_adapter(names, [1 / len(names)] * len(names), "merged",
                                      combination_type="svd", svd_rank=RANK)
model.save_pretrained(sys.argv[-1], selected_adapters=["merged"])
"""


class Values:
    """Normal numbers of deviation .02. Large tensors are windows of one pool, which is quick."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.pool = np.random.default_rng(seed).standard_normal(2 * INNER * HIDDEN, np.float32)
        self.pool *= np.float32(0.02)

    def __call__(self, name: str, count: int) -> np.ndarray:
        return self.pool[zlib.crc32(f"{self.seed} {name}".encode()) % (INNER * HIDDEN):][:count]


def shapes_of(blocks: int) -> dict[str, tuple[int, ...]]:
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,),
              "lm_head.weight": (VOCABULARY, HIDDEN)}
    for block in range(blocks):
        at = f"model.layers.{block}."
        shapes |= {f"{at}{name}.weight": shape for name, shape in MODULES.items()}
        shapes[f"{at}input_layernorm.weight"] = (HIDDEN,)
        shapes[f"{at}post_attention_layernorm.weight"] = (HIDDEN,)
    return shapes


def make_model(folder: pathlib.Path, blocks: int, values) -> None:
    checkpoint.write(folder / "model.safetensors", "BF16", shapes_of(blocks), values)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": blocks, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "vocab_size": VOCABULARY,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16"}))


def tuned(base: Values):
    """The base with an update of rank 64 and noise in its matrices."""
    random = np.random.default_rng(99)

    def values(name: str, count: int) -> np.ndarray:
        weight = base(name, count)
        shape = MODULES.get(".".join(name.split(".")[3:-1]))
        if not shape:
            return weight
        left = random.standard_normal((shape[0], 64), np.float32)
        right = random.standard_normal((64, shape[1]), np.float32)
        noise = random.standard_normal(shape, np.float32)
        return weight + np.float32(1e-4) * (left @ right + noise).ravel()

    return values


def make_adapter(folder: pathlib.Path, blocks: int, rank: int, values: Values) -> None:
    shapes = {}
    for block in range(blocks):
        for name, (rows, columns) in MODULES.items():
            at = f"base_model.model.model.layers.{block}.{name}"
            shapes[f"{at}.lora_A.weight"] = (rank, columns)
            shapes[f"{at}.lora_B.weight"] = (rows, rank)
    checkpoint.write(folder / "adapter_model.safetensors", "F32", shapes, values)
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank,
        "target_modules": sorted(name.split(".")[1] for name in MODULES),
        "base_model_name_or_path": str(folder.parent / "base")}))


def make(work: pathlib.Path, blocks: int, options, with_tuned: bool) -> None:
    if (work / "done").exists():
        return
    base = Values(1)
    make_model(work / "base", blocks, base)
    for i in range(options.adapters):
        make_adapter(work / f"lora{i}", blocks, options.rank, Values(100 + i))
    if with_tuned:
        make_model(work / "tuned", blocks, tuned(base))
    (work / "done").touch()


def jobs_of(options, work: pathlib.Path, large: pathlib.Path) -> dict[str, tuple]:
    """Per row: base, our command, and the peer's if there is one; all without the output."""
    command = str(options.build / "mergecraft")
    python = [sys.executable, "-W", "ignore", "-c"]
    tool = str(pathlib.Path(sys.executable).parent / "mergekit-extract-lora")
    base = str(work / "base")
    loras = [str(work / f"lora{i}") for i in range(options.adapters)]
    many = [str(large / f"lora{i}") for i in range(options.adapters)]
    weights = "weights=" + ",".join([str(1 / options.adapters)] * options.adapters)

    def bake(adapters, base):
        return [command, "lora", "bake", *adapters, "--base", str(base), "--no-sync", "-q", "-o"]

    return {
        "floor": [("bake, 1 adapter", large / "base", bake(many[:1], large / "base"), None),
                  (f"bake, {len(many)} adapters", large / "base", bake(many, large / "base"),
                   None)],
        "bake": [("bake", work / "base", bake(loras, work / "base"),
                  [*python, PEFT_BAKE, base, *loras])],
        "svd": [("svd", None, [command, "lora", "merge", "svd", *loras, "-p", weights, "--rank",
                               str(options.rank), "--no-sync", "-q", "-o"],
                 [*python, PEFT_SVD.replace("RANK", str(options.rank)), base, *loras])],
        "extract": [("extract", None,
                     [command, "lora", "extract", str(work / "tuned"), "--base", base, "--rank",
                      "32", "--no-sync", "-q", "-o"],
                     [tool, "--model", str(work / "tuned"), "--base-model", base, "--max-rank",
                      "32", "--out-path"])],
    }


def measure_row(options, out: pathlib.Path, name: str, base, ours, peer) -> None:
    costs, floors = [], []
    for _ in range(options.runs):
        if base:
            file = str(base / "model.safetensors")
            floors.append(measure.run([str(options.build / "bench" / "floor"), str(out),
                                       str(os.path.getsize(file)), file], out).seconds)
        costs.append(measure.run([*ours, str(out)], out))
    theirs = measure.run([*peer, str(out)], out) if peer else None
    seconds = statistics.median(cost.seconds for cost in costs)
    floor = statistics.median(floors) if floors else None
    measure.row([name, f"{seconds:.2f}", f"{floor:.2f}" if floor else "–",
                 f"{seconds / floor:.2f}" if floor else "–",
                 f"{theirs.seconds:.2f}" if theirs else "–",
                 f"{theirs.seconds / seconds:.1f}" if theirs else "–",
                 f"{max(cost.resident for cost in costs) / 1e6:.0f}",
                 f"{theirs.resident / 1e6:.0f}" if theirs else "–"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--large", type=int, default=40)
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--only", default="floor,bake,svd,extract")
    options = parser.parse_args()
    root = options.work or pathlib.Path(tempfile.mkdtemp(prefix="mergecraft-lora-"))
    work, large, out = root / "small", root / "large", root / "out"
    wanted = options.only.split(",")
    if set(wanted) - {"floor"}:
        make(work, options.blocks, options, True)
    if "floor" in wanted:
        make(large, options.large, options, False)
    measure.table(["job", "ours s", "floor s", "× floor", "peer s", "peer / ours", "ours MB",
                   "peer MB"])
    jobs = jobs_of(options, work, large)
    for name in wanted:
        for row in jobs[name]:
            measure_row(options, out, *row)
    if out.exists():
        shutil.rmtree(out, ignore_errors=True)
    if not options.work:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
