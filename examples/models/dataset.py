"""Draws the entailment data, writes it in the layout of GLUE's RTE, and
measures how far simple guesses get on it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.parquet
import torch

import grammar

LABELS = ("entailment", "not_entailment")
SIZES = {"train": 4000, "validation": 600}
DATA_SEED = 1


class Pair(NamedTuple):
    """One row of the data."""

    sentence1: str
    sentence2: str
    label: int
    idx: int


def make_splits() -> dict[str, list[Pair]]:
    """Draw both splits: balanced labels, and no pair twice."""
    rng, seen = random.Random(DATA_SEED), set()
    return {name: _draw_split(rng, size, seen) for name, size in SIZES.items()}


def _draw_split(rng: random.Random, size: int, seen: set[tuple[str, str]]) -> list[Pair]:
    labels = [index % 2 for index in range(size)]
    rng.shuffle(labels)
    pairs = []
    for idx, label in enumerate(labels):
        texts = grammar.draw_pair(rng, label)
        while texts in seen:
            texts = grammar.draw_pair(rng, label)
        seen.add(texts)
        pairs.append(Pair(*texts, label, idx))
    return pairs


def write_splits(splits: dict[str, list[Pair]], folder: Path) -> None:
    """Write each split as parquet and as TSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in splits.items():
        _write_parquet(pairs, folder / f"{name}.parquet")
        _write_tsv(pairs, folder / f"{name}.tsv")


def _write_parquet(pairs: list[Pair], path: Path) -> None:
    text, label, idx = pyarrow.string(), pyarrow.int64(), pyarrow.int32()
    types = (text, text, label, idx)
    schema = pyarrow.schema(list(zip(Pair._fields, types)))
    columns = [pyarrow.array(c, t) for c, t in zip(zip(*pairs), types)]
    table = pyarrow.Table.from_arrays(columns, schema=schema)
    pyarrow.parquet.write_table(table, path, compression="snappy")


def _write_tsv(pairs: list[Pair], path: Path) -> None:
    lines = ["index\tsentence1\tsentence2\tlabel"]
    lines += [f"{p.idx}\t{p.sentence1}\t{p.sentence2}\t{LABELS[p.label]}" for p in pairs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


# ---------------------------------------------------------------- baselines


def _words(text: str) -> list[str]:
    return text.lower().replace(".", " ").replace(",", " ").split()


def _bag(pairs: list[Pair], column: int) -> torch.Tensor:
    """Count the grammar's words in one column."""
    index = {word: i for i, word in enumerate(sorted(set(grammar.words())))}
    rows = torch.zeros(len(pairs), len(index) + 1)
    for row, pair in zip(rows, pairs):
        for word in _words(pair[column]):
            row[index.get(word, len(index))] += 1
    return rows


def _lengths(pairs: list[Pair]) -> torch.Tensor:
    """Measure both lengths, in words."""
    counts = [(len(_words(p[0])), len(_words(p[1]))) for p in pairs]
    return torch.tensor(counts, dtype=torch.float32) / 10


def _overlap(pairs: list[Pair]) -> torch.Tensor:
    """Measure the share of the hypothesis's words that the premise has."""
    sets = [(set(_words(p[0])), set(_words(p[1]))) for p in pairs]
    return torch.tensor([[len(a & b) / len(b)] for a, b in sets])


def _regression(train: torch.Tensor, labels: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """Fit a logistic regression and return its guesses."""
    weights = torch.zeros(train.shape[1] + 1, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=0.05)
    for _ in range(300):
        logits = train @ weights[:-1] + weights[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        adam.zero_grad()
        (loss + 1e-4 * weights.square().sum()).backward()
        adam.step()
    return (held @ weights[:-1] + weights[-1] > 0).float().detach()


def simple_baselines(splits: dict[str, list[Pair]]) -> dict[str, float]:
    """Measure what can be guessed without relating the two sentences."""
    labels = {n: torch.tensor([float(p.label) for p in s]) for n, s in splits.items()}
    features = {
        "hypothesis words": lambda s: _bag(s, 1), "premise words": lambda s: _bag(s, 0),
        "lengths": _lengths, "overlap": _overlap,
    }
    scores = {}
    for name, measure in features.items():
        train, held = measure(splits["train"]), measure(splits["validation"])
        guess = _regression(train, labels["train"], held)
        scores[name] = (guess == labels["validation"]).float().mean().item()
    return scores
