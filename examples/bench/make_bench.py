"""Make the models and data of examples/bench/suite.yml.

    python examples/bench/make_bench.py [--output DIR] [--only TASK-SEED ...]

Four tasks are drawn from the grammar of the demo models, and their base is
fine-tuned on each with three seeds. Models are stored as float16, to be small.
The same versions of torch and transformers on the same kind of processor make
the same tensors.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertForSequenceClassification

MODELS = Path(__file__).resolve().parent.parent / "models"
sys.path.insert(0, str(MODELS))

import grammar  # noqa: E402
from training import Batch, Training, base_config, pad, shuffled  # noqa: E402

SIZES = {"train": 4000, "held": 900}
SEEDS = (1, 2, 3)
RATE, EPOCHS, BATCH = 4e-4, 3, 32


class Row(NamedTuple):
    """One example; `pair` is empty for single sentences."""

    text: str
    pair: str
    label: int


# ------------------------------------------------------------------ the tasks


def draw_entailment(rng: random.Random, label: int) -> Row:
    """Draw RTE's task: does the second text follow from the first?"""
    return Row(*grammar.draw_pair(rng, label), label)


def draw_paraphrase(rng: random.Random, label: int) -> Row:
    """Draw MRPC's task: do both sentences say the same?"""
    while True:
        fact = grammar.draw_fact(rng)
        other = fact if label == 1 else grammar.broken(rng, fact)
        if label == 0 and grammar.entails(fact, other) and grammar.entails(other, fact):
            continue
        texts = [grammar._sentence(grammar.word_fact(rng, f)) for f in (fact, other)]
        if texts[0] != texts[1]:
            rng.shuffle(texts)
            return Row(*texts, label)


def _swap_neighbours(rng: random.Random, words: list[str]) -> list[str]:
    place = rng.randrange(len(words) - 1)
    return words[:place] + [words[place + 1], words[place]] + words[place + 2 :]


def _drop_word(rng: random.Random, words: list[str]) -> list[str]:
    place = rng.randrange(len(words))
    return words[:place] + words[place + 1 :]


def _repeat_word(rng: random.Random, words: list[str]) -> list[str]:
    place = rng.randrange(len(words))
    return words[: place + 1] + words[place:]


def _move_word(rng: random.Random, words: list[str]) -> list[str]:
    rest = list(words)
    word = rest.pop(rng.randrange(len(rest)))
    rest.insert(rng.randrange(len(rest) + 1), word)
    return rest


DAMAGES: tuple[Callable[[random.Random, list[str]], list[str]], ...] = (
    _swap_neighbours, _drop_word, _repeat_word, _move_word,
)


def draw_acceptability(rng: random.Random, label: int) -> Row:
    """Draw CoLA's task: is the sentence a sentence of the grammar?"""
    sentence = grammar.word_fact(rng, grammar.draw_fact(rng))
    words = sentence.split()
    damaged = words
    while label == 0 and damaged == words:
        damaged = rng.choice(DAMAGES)(rng, words)
    return Row(grammar._sentence(" ".join(damaged)), "", label)


GOOD = ("clean", "honor")
BAD = ("damage", "steal")


def _is_good(fact: grammar.Fact) -> bool | None:
    """Whether a deed is good; a denial of it is the opposite; None if it is neither."""
    good = any(grammar.is_a(fact.verb, verb) for verb in GOOD)
    bad = any(grammar.is_a(fact.verb, verb) for verb in BAD)
    return None if good == bad else good != fact.negative


def draw_sentiment(rng: random.Random, label: int) -> Row:
    """Draw SST-2's task: is the reported deed good?"""
    while True:
        fact = grammar.draw_fact(rng)
        if _is_good(fact) != bool(label):
            continue
        if rng.random() < 0.3:
            reporter = rng.choice(grammar.NAMES)
            fact = replace(fact, reporter=reporter, attitude=rng.choice(grammar.FACTIVE))
        return Row(grammar._sentence(grammar.word_fact(rng, fact)), "", label)


class Task(NamedTuple):
    """A task: GLUE's name of it, names of its labels, how an example is drawn."""

    glue: str
    labels: tuple[str, str]
    draw: Callable[[random.Random, int], Row]


TASKS = {
    "entailment": Task("rte", ("entailment", "not_entailment"), draw_entailment),
    "paraphrase": Task("mrpc", ("not_equivalent", "equivalent"), draw_paraphrase),
    "acceptability": Task("cola", ("unacceptable", "acceptable"), draw_acceptability),
    "sentiment": Task("sst2", ("negative", "positive"), draw_sentiment),
}


def draw_splits(name: str) -> dict[str, list[Row]]:
    """Draw all splits: balanced labels, and no example twice."""
    task, rng, seen, splits = TASKS[name], random.Random(f"bench {name}"), set(), {}
    for split, size in SIZES.items():
        labels = [index % 2 for index in range(size)]
        rng.shuffle(labels)
        splits[split] = []
        for label in labels:
            row = task.draw(rng, label)
            while row[:2] in seen:
                row = task.draw(rng, label)
            seen.add(row[:2])
            splits[split].append(row)
    return splits


def write_split(rows: list[Row], path: Path) -> None:
    """Write a split as JSON lines with the columns of GLUE's tasks."""
    lines = []
    for index, row in enumerate(rows):
        texts = {"sentence1": row.text, "sentence2": row.pair} if row.pair \
            else {"sentence": row.text}
        lines.append(json.dumps(texts | {"label": row.label, "idx": index}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- fine-tuning


def encode(tokenizer, rows: list[Row]) -> list[Batch]:
    """Encode every example, unpadded."""
    coded = [tokenizer(row.text, row.pair) if row.pair else tokenizer(row.text) for row in rows]
    return [{"input_ids": torch.tensor(c["input_ids"]),
             "token_type_ids": torch.tensor(c["token_type_ids"])} for c in coded]


def make_classifier(base, task: Task, size: int, seed: int) -> BertForSequenceClassification:
    """Put a new head on the base's encoder."""
    torch.manual_seed(seed)
    config = base_config(size)
    config.id2label = dict(enumerate(task.labels))
    config.label2id = {label: index for index, label in enumerate(task.labels)}
    model = BertForSequenceClassification(config)
    encoder = {name: tensor for name, tensor in base.items() if name.startswith("bert.")}
    missing, unexpected = model.load_state_dict(encoder, strict=False)
    assert sorted(missing) == ["classifier.bias", "classifier.weight"] and not unexpected
    return model


def fine_tune(base, tokenizer, task: Task, rows: list[Row], seed: int):
    """Train one fine-tune from the base."""
    model = make_classifier(base, task, len(tokenizer), seed)
    coded, labels = encode(tokenizer, rows), torch.tensor([row.label for row in rows])
    rng = random.Random(seed)
    groups = [g for _ in range(EPOCHS) for g in shuffled(coded, BATCH, rng)]
    training = Training(model, RATE, len(groups))
    for group in groups:
        output = model(**pad([coded[i] for i in group]), labels=labels[group])
        training.step(output.loss)
    return model.eval()


@torch.no_grad()
def accuracy(model, tokenizer, rows: list[Row]) -> float:
    """Measure the share of examples that a classifier labels rightly."""
    coded, labels, right = encode(tokenizer, rows), torch.tensor([r.label for r in rows]), 0
    for start in range(0, len(coded), 100):
        guess = model(**pad(coded[start : start + 100])).logits.argmax(-1)
        right += int((guess == labels[start : start + 100]).sum())
    return right / len(coded)


def main() -> None:
    """Read the command line and make data and models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR")
    parser.add_argument("--only", nargs="*", metavar="TASK-SEED", help="models to make")
    given = parser.parse_args()
    # The number of threads changes the order of sums, and so the last bits.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "base")
    base = load_file(MODELS / "base" / "model.safetensors")
    (given.output / "data").mkdir(parents=True, exist_ok=True)
    for name, task in TASKS.items():
        splits = draw_splits(name)
        write_split(splits["held"], given.output / "data" / f"{name}.jsonl")
        for seed in SEEDS:
            if given.only and f"{name}-{seed}" not in given.only:
                continue
            model = fine_tune(base, tokenizer, task, splits["train"], seed)
            print(f"{name}-{seed}: {accuracy(model, tokenizer, splits['held']):.3f}", flush=True)
            folder = given.output / f"{name}-{seed}"
            model.half().save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            shutil.copy(MODELS / "base" / "tokenizer_config.json", folder)


if __name__ == "__main__":
    main()
