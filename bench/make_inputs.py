"""Checkpoints for the benchmarks: random weights in the shapes of real models.

make_inputs.py DIR bert [COUNT]    bert-0 … : BERT-base, f32, 419 MB each (bert-0 serves as the
base)
make_inputs.py DIR llama [COUNT]   llama-0 … : Llama 3.2 1B, bf16, 2.5 GB each
make_inputs.py DIR classifier COUNT MODEL    classifier-0 … : BERT-base with a head of two labels
and the tokenizer of MODEL (bert-base-uncased, or a MiniLM), for bench/search.py
make_inputs.py DIR llama-small [COUNT]   the same with 3 of 16 blocks and a quarter of the
vocabulary: 249 million parameters, 0.5 GB each

Needs numpy. What is there already stays.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

import checkpoint


def bert_shapes() -> dict[str, tuple[int, ...]]:
    shapes = {
        "bert.embeddings.word_embeddings.weight": (30522, 768),
        "bert.embeddings.position_embeddings.weight": (512, 768),
        "bert.embeddings.token_type_embeddings.weight": (2, 768),
        "bert.embeddings.LayerNorm.weight": (768,),
        "bert.embeddings.LayerNorm.bias": (768,),
        "bert.pooler.dense.weight": (768, 768),
        "bert.pooler.dense.bias": (768,),
    }
    parts = {"attention.self.query": (768, 768), "attention.self.key": (768, 768),
             "attention.self.value": (768, 768), "attention.output.dense": (768, 768),
             "intermediate.dense": (3072, 768), "output.dense": (768, 3072)}
    for layer in range(12):
        at = f"bert.encoder.layer.{layer}."
        for name, shape in parts.items():
            shapes[f"{at}{name}.weight"], shapes[f"{at}{name}.bias"] = shape, shape[:1]
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{at}{norm}.weight"] = shapes[f"{at}{norm}.bias"] = (768,)
    return shapes


def classifier_shapes() -> dict[str, tuple[int, ...]]:
    return {**bert_shapes(), "classifier.weight": (2, 768), "classifier.bias": (2,)}


def llama_shapes(blocks: int = 16, vocabulary: int = 128256) -> dict[str, tuple[int, ...]]:
    shapes = {"model.embed_tokens.weight": (vocabulary, 2048), "model.norm.weight": (2048,)}
    parts = {"self_attn.q_proj": (2048, 2048), "self_attn.k_proj": (512, 2048),
             "self_attn.v_proj": (512, 2048), "self_attn.o_proj": (2048, 2048),
             "mlp.gate_proj": (8192, 2048), "mlp.up_proj": (8192, 2048),
             "mlp.down_proj": (2048, 8192)}
    for layer in range(blocks):
        at = f"model.layers.{layer}."
        for name, shape in parts.items():
            shapes[f"{at}{name}.weight"] = shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}{norm}.weight"] = (2048,)
    return shapes


LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
    "intermediate_size": 8192, "num_attention_heads": 32, "num_hidden_layers": 16,
    "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16"}
SMALL = {"num_hidden_layers": 3, "vocab_size": 32064}
KINDS = {
    "bert": (bert_shapes, "F32", {"architectures": ["BertModel"], "model_type": "bert"}),
    "classifier": (classifier_shapes, "F32", {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert",
        "hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072, "vocab_size": 30522,
        "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 12,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0}),
    "llama": (llama_shapes, "BF16", LLAMA),
    "llama-small": (lambda: llama_shapes(3, 32064), "BF16", LLAMA | SMALL),
}


def make(folder: Path, kind: str, index: int) -> None:
    """A model near the common ancestor: N(0, .02) shared by all, and a small difference of its
    own."""
    shapes, dtype, config = KINDS[kind]
    common, own = np.random.default_rng(1), np.random.default_rng(1000 + index)

    def values(name: str, count: int) -> np.ndarray:
        tensor = common.standard_normal(count, np.float32) * np.float32(0.02)
        if index > 0:
            tensor += own.standard_normal(count, np.float32) * np.float32(0.002)
        return tensor

    checkpoint.write(folder / "model.safetensors", dtype, shapes(), values)
    (folder / "config.json").write_text(json.dumps(config))


def main() -> None:
    root, kind = Path(sys.argv[1]), sys.argv[2]
    tokenizer = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 6 if kind == "bert" else 4
    for index in range(count):
        folder = root / f"{kind}-{index}"
        if not (folder / "config.json").exists():
            make(folder, kind, index)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt") if tokenizer else ():
            shutil.copyfile(tokenizer / name, folder / name)


main()
