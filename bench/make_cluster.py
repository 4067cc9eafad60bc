"""Models in the shapes of the largest published ones, without their values, for bench/shares.

make_cluster.py DIR deepseek-v3|deepseek-v3-fp8|deepseek-v3-fine|llama-405b|qwen3-235b [COUNT]

Writes COUNT models (4) of bf16 tensors in shards of 5 GB. deepseek-v3-fp8 is in FP8 with a scale
per block of 128 × 128, as published: 91,992 tensors. deepseek-v3-fine has 512 experts of half the
width per block instead of 256: 91,495 tensors of as many parameters. Only the headers are written:
the rest of each file is a hole, so 685 billion parameters take some megabytes of disk. Existing
models are kept.
"""

import json
import math
import struct
import sys
from pathlib import Path


def attention(at: str, hidden: int, query: int, kv: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}.q_proj.weight": (query, hidden), f"{at}.k_proj.weight": (kv, hidden),
            f"{at}.v_proj.weight": (kv, hidden), f"{at}.o_proj.weight": (hidden, query)}


def mlp(at: str, hidden: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}.gate_proj.weight": (inner, hidden), f"{at}.up_proj.weight": (inner, hidden),
            f"{at}.down_proj.weight": (hidden, inner)}


def experts(at: str, hidden: int, inner: int, count: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{at}.gate.weight": (count, hidden)}
    for expert in range(count):
        shapes |= mlp(f"{at}.experts.{expert}", hidden, inner)
    return shapes


def deepseek_v3(expert_count: int = 256) -> dict[str, tuple[int, ...]]:
    hidden, tokens, shapes = 7168, 129280, {}
    for block in range(62):
        at = f"model.layers.{block}"
        low = f"{at}.self_attn"
        shapes |= {f"{low}.q_a_proj.weight": (1536, hidden), f"{low}.q_a_layernorm.weight": (1536,),
                   f"{low}.q_b_proj.weight": (24576, 1536),
                   f"{low}.kv_a_proj_with_mqa.weight": (576, hidden),
                   f"{low}.kv_a_layernorm.weight": (512,),
                   f"{low}.kv_b_proj.weight": (32768, 512), f"{low}.o_proj.weight": (hidden, 16384)}
        if block < 3:
            shapes |= mlp(f"{at}.mlp", hidden, 18432)
        else:
            shapes |= experts(f"{at}.mlp", hidden, 2048 * 256 // expert_count, expert_count)
            shapes |= mlp(f"{at}.mlp.shared_experts", hidden, 2048)
            shapes[f"{at}.mlp.gate.e_score_correction_bias"] = (expert_count,)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}.{norm}.weight"] = (hidden,)
    # The block that predicts a second token has an embedding and a head of its own.
    shapes |= {f"{at}.embed_tokens.weight": (tokens, hidden), f"{at}.enorm.weight": (hidden,),
               f"{at}.hnorm.weight": (hidden,), f"{at}.eh_proj.weight": (hidden, 2 * hidden),
               f"{at}.shared_head.norm.weight": (hidden,),
               f"{at}.shared_head.head.weight": (tokens, hidden)}
    return shapes | ends(tokens, hidden)


def llama_405b() -> dict[str, tuple[int, ...]]:
    hidden, shapes = 16384, {}
    for block in range(126):
        at = f"model.layers.{block}"
        shapes |= attention(f"{at}.self_attn", hidden, 16384, 1024) | mlp(f"{at}.mlp", hidden,
                53248)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}.{norm}.weight"] = (hidden,)
    return shapes | ends(128256, hidden)


def qwen3_235b() -> dict[str, tuple[int, ...]]:
    hidden, shapes = 4096, {}
    for block in range(94):
        at = f"model.layers.{block}"
        shapes |= attention(f"{at}.self_attn", hidden, 8192, 512)
        shapes |= experts(f"{at}.mlp", hidden, 1536, 128)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}.{norm}.weight"] = (hidden,)
    return shapes | ends(151936, hidden)


def ends(tokens: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {"model.embed_tokens.weight": (tokens, hidden), "lm_head.weight": (tokens, hidden),
            "model.norm.weight": (hidden,)}


def as_bf16(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: ("BF16", shape) for name, shape in shapes.items()}


def as_fp8(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Projections in FP8 with their scales; embeddings, router and norms stay in bf16."""
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("_proj.weight") or name.endswith("_mqa.weight"):
            tensors[name] = ("F8_E4M3", shape)
            tensors[f"{name}_scale_inv"] = ("F32", tuple(-(-n // 128) for n in shape))
        else:
            tensors[name] = ("BF16", shape)
    return tensors


FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
       "weight_block_size": [128, 128]}
KINDS = {
    "deepseek-v3": (lambda: as_bf16(deepseek_v3()), {"model_type": "deepseek_v3"}),
    "deepseek-v3-fp8": (lambda: as_fp8(deepseek_v3()),
                        {"model_type": "deepseek_v3", "quantization_config": FP8}),
    "deepseek-v3-fine": (lambda: as_bf16(deepseek_v3(512)), {"model_type": "deepseek_v3"}),
    "llama-405b": (lambda: as_bf16(llama_405b()), {"model_type": "llama"}),
    "qwen3-235b": (lambda: as_bf16(qwen3_235b()), {"model_type": "qwen3_moe"}),
}
SIZES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}


def size_of(tensor: tuple[str, tuple[int, ...]]) -> int:
    return SIZES[tensor[0]] * math.prod(tensor[1])


def write_shard(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    header, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        end = at + size_of((dtype, shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def write_model(folder: Path, tensors: dict[str, tuple[str, tuple[int, ...]]],
                config: dict) -> None:
    shards, size = [{}], 0
    for name, tensor in tensors.items():
        if size and size + size_of(tensor) > 5e9:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += size_of(tensor)
    folder.mkdir(parents=True)
    index = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / name, shard)
        index |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps(config))


def main() -> None:
    if len(sys.argv) not in (3, 4) or sys.argv[2] not in KINDS:
        sys.exit(__doc__)
    tensors, config = KINDS[sys.argv[2]]
    for i in range(int(sys.argv[3]) if len(sys.argv) > 3 else 4):
        folder = Path(sys.argv[1]) / f"{sys.argv[2]}-{i}"
        if not folder.exists():
            write_model(folder, tensors(), config)


main()
