"""Merges models of many architectures of transformers: the result loads and has torch's values.

architectures.py MERGECRAFT

Each is made from a tiny configuration with random weights. Its soup, and its ties with a base, are
loaded by transformers without missing or unexpected keys, and compared with torch, tensor by
tensor; also with a base whose tensors have the names of modules in memory. Needs torch, safetensors
and transformers.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import torch
import transformers
from safetensors.torch import load_file

COMMAND = sys.argv[1]
WORK = Path(tempfile.mkdtemp(prefix="mergecraft-architectures-"))
KEPT = 0.3  # ties: the share of a task vector that is kept

TEXT = dict(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=48, max_position_embeddings=64)
CAUSAL = dict(**TEXT, num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1,
              eos_token_id=2)
VISION = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
              image_size=16, patch_size=8)
EXPERTS = dict(**CAUSAL, num_local_experts=4, num_experts_per_tok=2)
WAVES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
             vocab_size=32, conv_dim=(16, 16), conv_stride=(2, 2), conv_kernel=(3, 3),
             num_feat_extract_layers=2, num_conv_pos_embeddings=8,
             num_conv_pos_embedding_groups=2)
MAMBA = dict(hidden_size=32, num_hidden_layers=2, vocab_size=99, state_size=8, num_heads=8,
             head_dim=8, n_groups=2, expand=2, chunk_size=8, pad_token_id=0, bos_token_id=1,
             eos_token_id=2)
T5 = dict(vocab_size=99, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
BART = dict(vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48,
            decoder_ffn_dim=48, max_position_embeddings=64)
PAIR = dict(text_config={**TEXT, "projection_dim": 16}, vision_config={**VISION,
            "projection_dim": 16}, projection_dim=16)

# name: class of the model, class of its configuration, settings
ARCHITECTURES = {
    "bert": ("BertForMaskedLM", "BertConfig", TEXT),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", TEXT),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", dict(**TEXT, embedding_size=16)),
    "deberta-v2": ("DebertaV2ForSequenceClassification", "DebertaV2Config",
                   dict(**TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"],
                        position_buckets=16, max_relative_positions=32)),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig",
                   dict(**TEXT, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
                        sep_token_id=2)),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5 untied": ("T5ForConditionalGeneration", "T5Config",
                  dict(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config",
             dict(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "llama tied": ("LlamaForCausalLM", "LlamaConfig", dict(**CAUSAL, tie_word_embeddings=True)),
    "llama untied": ("LlamaForCausalLM", "LlamaConfig", dict(**CAUSAL, tie_word_embeddings=False)),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", CAUSAL),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", CAUSAL),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", EXPERTS),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", CAUSAL),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", CAUSAL),
    "mamba2": ("Mamba2ForCausalLM", "Mamba2Config", MAMBA),
    "vit": ("ViTForImageClassification", "ViTConfig", VISION),
    "clip": ("CLIPModel", "CLIPConfig", PAIR),
    "siglip": ("SiglipModel", "SiglipConfig", PAIR),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig",
                dict(**BART, num_mel_bins=16, max_source_positions=32, max_target_positions=32,
                     pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)),
    "wav2vec2": ("Wav2Vec2ForCTC", "Wav2Vec2Config", WAVES),
    "resnet": ("ResNetForImageClassification", "ResNetConfig",
               dict(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1])),
}


def make(name: str) -> list[Path]:
    """Saves three models of an architecture, of random weights and statistics."""
    kind, configuration, settings = ARCHITECTURES[name]
    folders = []
    for i in range(3):
        torch.manual_seed(i)
        model = getattr(transformers, kind)(getattr(transformers, configuration)(**settings))
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                if tensor.is_floating_point() and tensor.numel() > 0:
                    tensor.add_(torch.rand_like(tensor) * 0.1)
        folders.append(WORK / f"{name.replace(' ', '-')}-{i}")
        model.save_pretrained(folders[-1])
    return folders


def in_memory(name: str, folder: Path) -> Path:
    """Saves a model as torch.save does: tensors have the names that they have in memory.

    Since version 5, transformers stores those of experts, vision transformers and others under
    other names and in other tensors.
    """
    model = getattr(transformers, ARCHITECTURES[name][0]).from_pretrained(folder)
    raw = WORK / f"{folder.name}-raw"
    raw.mkdir()
    torch.save(model.state_dict(), raw / "pytorch_model.bin")
    shutil.copy(folder / "config.json", raw)
    return raw


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def soup(models: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(models).double().mean(0)


def ties(models: list[torch.Tensor], base: torch.Tensor) -> torch.Tensor:
    """Yadav et al. 2023: the largest changes, the sign that outweighs, the mean of its votes."""
    vectors = (torch.stack(models) - base).numpy()
    size = numpy.abs(vectors)
    threshold = numpy.float32(numpy.quantile(size.astype(numpy.float64), 1 - KEPT))
    kept = torch.from_numpy(numpy.where(size >= threshold, vectors, 0))
    total = kept.sum(0)
    votes = (torch.sign(kept) == torch.sign(total)) & (kept != 0)
    mean = torch.where(votes, kept, 0).sum(0) / votes.sum(0).clamp(min=1)
    return base + torch.where(total == 0, 0, mean)


def merge(out: Path, *arguments: object) -> None:
    command = [COMMAND, "merge", *map(str, arguments), "--strict", "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr.strip())


def check_values(out: Path, expected: dict[str, torch.Tensor]) -> None:
    found = tensors_of(out)
    if found.keys() != expected.keys():
        raise AssertionError(f"expected other names: {sorted(found.keys() ^ expected.keys())[:4]}")
    for name, tensor in found.items():
        difference = (tensor.double() - expected[name].double()).abs().max().item()
        if difference > 1e-6 or tensor.dtype != expected[name].dtype and difference > 0 and not (
            tensor.is_floating_point()
        ):
            raise AssertionError(f"{name}: differs from torch by {difference}")


def check_loads(name: str, out: Path) -> None:
    kind = getattr(transformers, ARCHITECTURES[name][0])
    with contextlib.redirect_stderr(io.StringIO()):
        _, info = kind.from_pretrained(out, output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[what]:
            raise AssertionError(f"{what}: {list(info[what])[:4]}")


def check(name: str) -> None:
    *models, base = make(name)
    loaded = [tensors_of(folder) for folder in (*models, base)]
    floats = [n for n, tensor in loaded[0].items() if tensor.is_floating_point()]
    expected = dict(loaded[1])
    out = WORK / "out"
    for method, options in (("soup", []), ("ties", ["--base", base, "-p", f"k={KEPT}"])):
        for n in floats:
            each = [model[n] for model in loaded[:2]]
            expected[n] = soup(each) if method == "soup" else ties(each, loaded[2][n])
        merge(out, method, *models, *options, "--overwrite")
        check_values(out, expected)
        check_loads(name, out)
    raw = in_memory(name, base)
    merge(out, "ties", *models, "--base", raw, "-p", f"k={KEPT}", "--overwrite")
    check_values(out, expected)


def main() -> int:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    failed, start = 0, time.monotonic()
    for name in ARCHITECTURES:
        try:
            check(name)
            print(f"ok   {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(ARCHITECTURES) - failed} passed, {failed} failed "
          f"(transformers {transformers.__version__}, {time.monotonic() - start:.0f} s)")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
