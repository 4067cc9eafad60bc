#!/usr/bin/env python3
"""Writes pipeline.json: what transformers' text-classification pipeline makes of the demo models.

    pip install torch==2.13.0 transformers pyarrow
    python tests/data/pipeline/make_pipeline.py

For each fine-tune: the predictions on the validation pairs, a digit each, the logits of the
first 16 of them, and the scores of texts that are not in the data. All in float32 (rte-5 is
stored in float16).
"""
import json
import pathlib

import pyarrow.parquet
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

HERE = pathlib.Path(__file__).parent
MODELS = HERE.parents[2] / "examples" / "models"
LOGITS = 16
TEXTS = [
    {"text": "Every surgeon slept.", "text_pair": "A medic slept."},
    {"text": "No surgeon slept.", "text_pair": "A medic slept."},
    {"text": "Every surgeon slept."},
    {"text": ""},
    {"text": "Ünknown wörds ☃ 漢字 and [SEP] tokens", "text_pair": "[CLS]"},
    {"text": "the surgeon slept " * 60, "text_pair": "a medic slept " * 20},
]


def evaluate(name):
    folder = str(MODELS / name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = pyarrow.parquet.read_table(MODELS / "data" / "validation.parquet").to_pylist()
    classifier = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    logits = []
    with torch.no_grad():
        for row in rows:
            inputs = tokenizer(row["sentence1"], row["sentence2"], truncation=True,
                               return_tensors="pt")
            logits.append(model(**inputs).logits[0])
    scores = classifier(TEXTS, top_k=None, truncation=True)
    ids = model.config.label2id
    return {
        "predictions": "".join(str(int(row.argmax())) for row in logits),
        "logits": [[round(x, 7) for x in row.tolist()] for row in logits[:LOGITS]],
        "scores": [[s["score"] for s in sorted(one, key=lambda s: ids[s["label"]])]
                   for one in scores],
    }


def main():
    names = [f"rte-{i}" for i in range(1, 6)]
    out = {"texts": TEXTS, "models": {name: evaluate(name) for name in names}}
    (HERE / "pipeline.json").write_text(json.dumps(out, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
