#!/usr/bin/env python3
"""Writes names/TYPE.txt: the tensors that transformers saves for a tiny model of each type, and
what transformers itself knows of each. Needs torch and transformers.

A line: name, shape, fact, block; separated by tabs. Facts: input (what get_input_embeddings gives),
output (get_output_embeddings), norm, embedding, convolution, transposed (Conv1D, [in, out]),
linear, other. block: the number in the list of blocks that the tensor's module is in, or "-".
The first line: "# prefix", then base_model_prefix.
"""
import json
import pathlib
import tempfile

import torch
import transformers as T
from safetensors import safe_open

T.utils.logging.set_verbosity_error()
T.utils.logging.disable_progress_bar()

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
             vocab_size=99)
GROUPED = dict(**SMALL, num_key_value_heads=2, max_position_embeddings=64)
SEQ2SEQ = dict(vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2,
               encoder_attention_heads=4,
               decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48)
IMAGE = dict(image_size=8, patch_size=4)
TEXT = dict(**SMALL, max_position_embeddings=40)
CLIP = dict(text_config=TEXT, vision_config=dict(hidden_size=32, num_hidden_layers=2,
                                                 num_attention_heads=4,
                                                 intermediate_size=48, **IMAGE))

MODELS = {
    "bert": (T.BertForMaskedLM, T.BertConfig(**SMALL)),
    "bert-classifier": (T.BertForSequenceClassification, T.BertConfig(**SMALL)),
    "roberta": (T.RobertaForMaskedLM, T.RobertaConfig(**TEXT)),
    "distilbert": (T.DistilBertForMaskedLM,
                   T.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=48, vocab_size=99)),
    "deberta-v2": (T.DebertaV2ForSequenceClassification,
                   T.DebertaV2Config(**TEXT, relative_attention=True, position_buckets=8,
                                     pos_att_type=["p2c", "c2p"])),
    "electra": (T.ElectraForSequenceClassification, T.ElectraConfig(**SMALL, embedding_size=16)),
    "modernbert": (T.ModernBertForMaskedLM,
                   T.ModernBertConfig(**SMALL, pad_token_id=0, bos_token_id=1,
                                                               eos_token_id=2, cls_token_id=1,
                                      sep_token_id=2)),
    "t5": (T.T5ForConditionalGeneration, T.T5Config(d_model=32, num_layers=2, num_heads=4, d_ff=48,
                                                    d_kv=8, vocab_size=99)),
    "t5-gated": (T.T5ForConditionalGeneration,
                 T.T5Config(d_model=32, num_layers=2, num_heads=4, d_ff=48, d_kv=8, vocab_size=99,
                            feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "bart": (T.BartForConditionalGeneration, T.BartConfig(**SEQ2SEQ)),
    "gpt2": (T.GPT2LMHeadModel, T.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=99,
                                             n_positions=40)),
    "gpt_neox": (T.GPTNeoXForCausalLM, T.GPTNeoXConfig(**SMALL)),
    "llama": (T.LlamaForCausalLM, T.LlamaConfig(**GROUPED)),
    "mistral": (T.MistralForCausalLM, T.MistralConfig(**GROUPED)),
    "qwen2": (T.Qwen2ForCausalLM, T.Qwen2Config(**GROUPED)),
    "qwen2_moe": (T.Qwen2MoeForCausalLM,
                  T.Qwen2MoeConfig(**GROUPED, num_experts=4, num_experts_per_tok=2,
                                                        moe_intermediate_size=16,
                                   shared_expert_intermediate_size=16)),
    "qwen3": (T.Qwen3ForCausalLM, T.Qwen3Config(**GROUPED, head_dim=8)),
    "qwen3_moe": (T.Qwen3MoeForCausalLM, T.Qwen3MoeConfig(**GROUPED, head_dim=8, num_experts=4,
                                                        num_experts_per_tok=2,
                                                          moe_intermediate_size=16)),
    "mixtral": (T.MixtralForCausalLM, T.MixtralConfig(**GROUPED, num_local_experts=4)),
    "gemma2": (T.Gemma2ForCausalLM, T.Gemma2Config(**GROUPED, head_dim=8)),
    "gemma3": (T.Gemma3ForCausalLM, T.Gemma3TextConfig(**GROUPED, head_dim=8)),
    "phi": (T.PhiForCausalLM, T.PhiConfig(**SMALL)),
    "phi3": (T.Phi3ForCausalLM, T.Phi3Config(**GROUPED, pad_token_id=0)),
    "falcon": (T.FalconForCausalLM, T.FalconConfig(hidden_size=32, num_hidden_layers=2,
                                                   num_attention_heads=4, vocab_size=99)),
    "mamba2": (T.Mamba2ForCausalLM, T.Mamba2Config(num_heads=8, head_dim=8, vocab_size=99,
                                                   hidden_size=32,
                                                   state_size=8, num_hidden_layers=2, n_groups=2,
                                                   chunk_size=8)),
    "vit": (T.ViTForImageClassification, T.ViTConfig(hidden_size=32, num_hidden_layers=2,
                                                     num_attention_heads=4,
                                                     intermediate_size=48, **IMAGE)),
    "clip": (T.CLIPModel, T.CLIPConfig(**CLIP, projection_dim=16)),
    "siglip": (T.SiglipModel, T.SiglipConfig(**CLIP)),
    "whisper": (T.WhisperForConditionalGeneration,
                T.WhisperConfig(**SEQ2SEQ, max_source_positions=16, max_target_positions=16,
                                pad_token_id=0,
                                bos_token_id=1, eos_token_id=2, decoder_start_token_id=3)),
    "wav2vec2": (T.Wav2Vec2ForCTC, T.Wav2Vec2Config(hidden_size=32, num_hidden_layers=2,
                                                    num_attention_heads=4,
                                                    intermediate_size=48, vocab_size=99,
                                                    conv_dim=(16, 16),
                                                    conv_stride=(2, 2), conv_kernel=(3, 3),
                                                    num_feat_extract_layers=2,
                                                    num_conv_pos_embeddings=8,
                                                    num_conv_pos_embedding_groups=2)),
    "resnet": (T.ResNetForImageClassification,
               T.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2])),
}


def block_of(model, name):
    """The index in the outermost ModuleList of equal modules that have attention, a mixer or
    convolutions."""
    module, parts = model, name.split(".")
    for at, part in enumerate(parts):
        if isinstance(module, torch.nn.ModuleList) and part.isdigit():
            return part
        module = getattr(module, part, None)
        if module is None:
            return "?"
    return "-"


def fact_of(model, name):
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return "unknown"  # saved under another name than the module has
    kind = type(module).__name__
    for fact, getter in (("input", model.get_input_embeddings),
                         ("output", model.get_output_embeddings)):
        try:
            if module is getter():
                return fact
        except (NotImplementedError, AttributeError):
            pass  # a model of several encoders has no single one
    if "Norm" in kind:
        return "norm"
    if isinstance(module, torch.nn.Embedding):
        return "embedding"
    if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d)):
        return "convolution"
    if kind == "Conv1D":
        return "transposed"
    return "linear" if isinstance(module, torch.nn.Linear) else "other"


def main():
    out = pathlib.Path(__file__).parent / "names"
    out.mkdir(exist_ok=True)
    for kind, (cls, config) in MODELS.items():
        model = cls(config)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            config_type = json.loads(pathlib.Path(folder, "config.json").read_text())["model_type"]
            with safe_open(f"{folder}/model.safetensors", "pt") as file:
                names = [(name, tuple(file.get_slice(name).get_shape())) for name in file.keys()]
        lines = [f"# {config_type}\t{model.base_model_prefix}"]
        for name, shape in names:
            shown = "x".join(map(str, shape)) or "scalar"
            lines.append(f"{name}\t{shown}\t{fact_of(model, name)}\t{block_of(model, name)}")
        (out / f"{kind}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
