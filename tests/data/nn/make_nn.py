"""Small encoders with random weights and the logits that transformers gives them, for
tests/nn/encoder.c.

make_nn.py writes NAME/config.json, NAME/model.safetensors and NAME/cases.json (token ids,
segment types, logits of each sequence alone, computed in float64; "int8": those with products in
int8) beside itself. Needs torch and transformers.
"""

import json
from pathlib import Path
from unittest import mock

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

HERE = Path(__file__).parent
BERT = dict(vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=40)
SMALL = dict(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
             intermediate_size=20)
THREE = {0: "entailment", 1: "neutral", 2: "contradiction"}

MODELS = {
    "bert": (BertForSequenceClassification, BertConfig(**BERT, max_position_embeddings=40,
                                                       id2label=THREE)),
    # Widths that are no multiples of any vector, one label, one block, large epsilon.
    "bert_odd": (
        BertForSequenceClassification,
        BertConfig(vocab_size=7, hidden_size=35, num_hidden_layers=1, num_attention_heads=5,
                   intermediate_size=33,
                   max_position_embeddings=33, num_labels=1, layer_norm_eps=0.01,
                   type_vocab_size=3),
    ),
    # What is computed in four parts, and what cannot be cut into equal ones.
    "bert_wide": (BertForSequenceClassification, BertConfig(**{**SMALL, "intermediate_size": 1280},
                                                            max_position_embeddings=40)),
    "bert_wide_prime": (
        BertForSequenceClassification,
        BertConfig(**{**SMALL, "intermediate_size": 1031}, max_position_embeddings=40),
    ),
    "roberta": (
        RobertaForSequenceClassification,
        RobertaConfig(**BERT, max_position_embeddings=42, type_vocab_size=1, layer_norm_eps=1e-5),
    ),
    "roberta_padding": (
        RobertaForSequenceClassification,
        RobertaConfig(**SMALL, max_position_embeddings=46, type_vocab_size=2, pad_token_id=5),
    ),
    "distilbert": (
        DistilBertForSequenceClassification,
        DistilBertConfig(vocab_size=50, dim=24, n_layers=2, n_heads=3, hidden_dim=40,
                         max_position_embeddings=40),
    ),
    "distilbert_relu": (
        DistilBertForSequenceClassification,
        DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=20,
                         max_position_embeddings=40,
                         activation="relu", id2label=THREE),
    ),
}
for activation in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "silu", "tanh",
                   "sigmoid", "linear"):
    MODELS[f"bert_{activation}"] = (
        BertForSequenceClassification,
        BertConfig(**SMALL, max_position_embeddings=40, hidden_act=activation),
    )


def spread(model: torch.nn.Module) -> None:
    """Weights so large that softmax and activations leave their linear parts."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += torch.randn_like(parameter) * 0.3
        else:
            parameter.data = torch.randn_like(parameter) * (1.5 / parameter.shape[-1] ** 0.5)


def sequences(config, longest: int) -> list[tuple[list[int], list[int]]]:
    kinds = getattr(config, "type_vocab_size", 1)
    result = []
    for length in (1, 2, 3, 5, 8, 15, 16, 17, 31, longest):
        ids = torch.randint(0, config.vocab_size, (length,)).tolist()
        types = torch.randint(0, kinds, (length,)).sort().values.tolist()
        result.append((ids, types))
    return result


def rounded(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as whole numbers from -127 to 127, and what one of them stands for."""
    scale = x.abs().amax(-1, keepdim=True) / 127
    return (x / scale).round(), scale


def linear_int8(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    (numbers, scale), (weights, weight_scale) = rounded(x), rounded(self.weight)
    return numbers @ weights.T * scale * weight_scale.T + self.bias


def logits_of(model: torch.nn.Module, ids: list[int], types: list[int]) -> list[float]:
    more = {} if isinstance(model,
                            DistilBertForSequenceClassification) else {
                                "token_type_ids": torch.tensor([types])}
    with torch.no_grad():
        mask = torch.ones(1, len(ids), dtype=torch.long)
        return model(torch.tensor([ids]), attention_mask=mask, **more).logits[0].tolist()


for name, (kind, config) in MODELS.items():
    torch.manual_seed(sum(name.encode()))
    model = kind(config).eval()
    spread(model)
    folder = HERE / name
    model.save_pretrained(folder)
    offset = config.pad_token_id + 1 if kind is RobertaForSequenceClassification else 0
    cases = sequences(config, config.max_position_embeddings - offset)
    model = model.double()
    rows = [{"ids": ids, "types": types, "logits": logits_of(model, ids, types)} for ids,
            types in cases]
    with mock.patch.object(torch.nn.Linear, "forward", linear_int8):
        for row in rows:
            row["int8"] = logits_of(model, row["ids"], row["types"])
    lines = ",\n".join(json.dumps(row) for row in rows)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n")
