"""Models in the shapes of the largest published ones, without their values, for bench/shares.

make_cluster.py DIR deepseek-v3|llama-405b|qwen3-235b [COUNT]

Writes COUNT models (4) of bf16 tensors in shards of 5 GB. Only the headers are written: the rest of
each file is a hole, so 671 billion parameters take some megabytes of disk. Where models lie
already, they stay.
"""

import json
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


def deepseek_v3() -> dict[str, tuple[int, ...]]:
    hidden, shapes = 7168, {}
    for block in range(61):
        at = f"model.layers.{block}"
        low = f"{at}.self_attn"
        shapes |= {f"{low}.q_a_proj.weight": (1536, hidden),
                   f"{low}.q_b_proj.weight": (24576, 1536),
                   f"{low}.kv_a_proj_with_mqa.weight": (576, hidden),
                   f"{low}.kv_b_proj.weight": (32768, 512), f"{low}.o_proj.weight": (hidden, 16384)}
        if block < 3:
            shapes |= mlp(f"{at}.mlp", hidden, 18432)
        else:
            shapes |= experts(f"{at}.mlp", hidden, 2048, 256)
            shapes |= mlp(f"{at}.mlp.shared_experts", hidden, 2048)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}.{norm}.weight"] = (hidden,)
    return shapes | ends(129280, hidden)


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


KINDS = {"deepseek-v3": (deepseek_v3, "deepseek_v3"), "llama-405b": (llama_405b, "llama"),
         "qwen3-235b": (qwen3_235b, "qwen3_moe")}


def write_shard(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2
        for n in shape:
            size *= n
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)


def write_model(folder: Path, shapes: dict[str, tuple[int, ...]], model_type: str) -> None:
    shards, size = [{}], 0
    for name, shape in shapes.items():
        size_of = 2
        for n in shape:
            size_of *= n
        if size and size + size_of > 5e9:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += size_of
    folder.mkdir(parents=True)
    index = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / name, shard)
        index |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def main() -> None:
    if len(sys.argv) not in (3, 4) or sys.argv[2] not in KINDS:
        sys.exit(__doc__)
    shapes, model_type = KINDS[sys.argv[2]]
    for i in range(int(sys.argv[3]) if len(sys.argv) > 3 else 4):
        folder = Path(sys.argv[1]) / f"{sys.argv[2]}-{i}"
        if not folder.exists():
            write_model(folder, shapes(), model_type)


main()
