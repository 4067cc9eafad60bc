"""Pretrains a small BERT on stories of the grammar and fine-tunes it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import grammar
from dataset import LABELS, Pair
from vocabulary import MAX_LENGTH, SPECIAL

BASE_SEED = 7
HEAD_SEED = 11
PRETRAIN_STORIES = 320_000
HELD_STORIES = 512
PRETRAIN_BATCH = 64
PRETRAIN_RATE = 1e-3
TUNE_BATCH = 32
REPORT_EVERY = 500

State = dict[str, torch.Tensor]
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one fine-tune is trained and in which form it is stored."""

    name: str
    seed: int
    rate: float
    epochs: int
    form: str


class Training:
    """AdamW with a short warm-up and a linear decay of the learning rate."""

    def __init__(self, model: PreTrainedModel, rate: float, steps: int) -> None:
        self.model = model
        self.adam = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
        warm = max(1, steps // 20)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.adam, lambda step: min((step + 1) / warm, (steps - step) / (steps - warm))
        )

    def step(self, loss: torch.Tensor) -> None:
        """Take one step down the gradient."""
        loss.backward()
        clip_grad_norm_(self.model.parameters(), 1.0)
        self.adam.step()
        self.schedule.step()
        self.adam.zero_grad(set_to_none=True)


# ------------------------------------------------------------------ batches


def encode(tokenizer: PreTrainedTokenizerBase, pairs: list[tuple[str, str]]) -> list[Batch]:
    """Encode each pair of texts alone, unpadded."""
    first, second = map(list, zip(*pairs))
    coded = tokenizer(first, second)
    assert max(map(len, coded["input_ids"])) <= MAX_LENGTH
    return [
        {"input_ids": torch.tensor(ids), "token_type_ids": torch.tensor(segments)}
        for ids, segments in zip(coded["input_ids"], coded["token_type_ids"])
    ]


def pad(rows: list[Batch]) -> Batch:
    """Stack rows of different lengths; zero is the padding everywhere."""
    batch = {
        key: pad_sequence([row[key] for row in rows], batch_first=True) for key in rows[0]
    }
    batch["attention_mask"] = (batch["input_ids"] != SPECIAL.index("[PAD]")).long()
    return batch


def shuffled(rows: list[Batch], size: int, rng: random.Random) -> Iterator[list[int]]:
    """Yield random groups of indices whose rows are of similar length."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    groups = []
    for start in range(0, len(order), size * 16):
        # Sorting inside a window saves padding and leaves the order random.
        window = order[start : start + size * 16]
        window.sort(key=lambda index: len(rows[index]["input_ids"]))
        groups += [window[i : i + size] for i in range(0, len(window), size)]
    rng.shuffle(groups)
    yield from groups


# -------------------------------------------------------------- pretraining


@dataclass(frozen=True)
class Story:
    """Two segments, the second one right or not, as BERT's second task has it."""

    first: str
    second: str
    right: str
    apart: int


class Exam(NamedTuple):
    """What a base can do with held-out stories."""

    masked_word_loss: float
    segment_accuracy: float


def draw_story(rng: random.Random) -> Story:
    """Draw a story with a retelling: right, words changed, or of another story."""
    first, right = grammar.draw_story(rng)
    if rng.random() < 0.5:
        return Story(first, right, right, 0)
    altered = grammar.alter_words(rng, first, right)
    if altered is None or rng.random() < 0.25:
        stranger = grammar.draw_story(rng)[1]
        return Story(first, stranger, stranger, 1)
    return Story(first, altered, right, 1)


def draw_stories(pairs: list[Pair]) -> list[Story]:
    """Draw the stories to pretrain on, without any of the task's own pairs."""
    rng = random.Random(BASE_SEED)
    stories = [draw_story(rng) for _ in range(PRETRAIN_STORIES + HELD_STORIES)]
    known = {(pair.sentence1, pair.sentence2) for pair in pairs}
    return [s for s in stories if not known & {(s.first, s.right), (s.first, s.second)}]


def encode_stories(tokenizer: PreTrainedTokenizerBase, stories: list[Story]) -> list[Batch]:
    """Encode stories, with the right words beside those that were changed."""
    rows = encode(tokenizer, [(s.first, s.second) for s in stories])
    right = encode(tokenizer, [(s.first, s.right) for s in stories])
    for row, other in zip(rows, right):
        told, meant = row["input_ids"], other["input_ids"]
        row["answers"] = torch.zeros_like(told)
        # Words of another number of pieces have no right word piece by piece.
        if len(told) == len(meant):
            row["answers"] = torch.where(told != meant, meant, 0)
    return rows


def mask_words(
    batch: Batch, generator: torch.Generator, size: int
) -> tuple[Batch, torch.Tensor]:
    """Hide words as BERT does; return the batch so changed and the words to guess."""
    ids, answers = batch["input_ids"], batch["answers"]
    # The second segment can be guessed from the first: hide more of it.
    chance = torch.where(batch["token_type_ids"] == 1, 0.3, 0.12)
    guess = (torch.rand(ids.shape, generator=generator) < chance) & (ids >= len(SPECIAL))
    hidden = guess & (answers == 0)
    fate = torch.rand(ids.shape, generator=generator)
    other = torch.randint(len(SPECIAL), size, ids.shape, generator=generator)
    inputs = ids.masked_fill(hidden & (fate < 0.7), SPECIAL.index("[MASK]"))
    inputs = torch.where(hidden & (fate >= 0.7) & (fate < 0.8), other, inputs)
    labels = torch.where(hidden, ids, answers)
    kept = {key: value for key, value in batch.items() if key != "answers"}
    return kept | {"input_ids": inputs}, labels.masked_fill(labels == 0, -100)


def base_config(size: int) -> BertConfig:
    """Describe the architecture."""
    # No dropout: so small a model learns the stories without it, and faster.
    # BERT's 0.02 is meant for wider layers; here attention would start too flat.
    return BertConfig(
        vocab_size=size, hidden_size=96, num_hidden_layers=4,
        num_attention_heads=4, intermediate_size=192,
        max_position_embeddings=MAX_LENGTH, initializer_range=0.08,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )


@torch.no_grad()
def masked_word_loss(model: PreTrainedModel, rows: list[Batch]) -> float:
    """Measure the loss on the hidden words, the same ones at each call."""
    generator = torch.Generator().manual_seed(BASE_SEED)
    total, count = 0.0, 0
    for start in range(0, len(rows), PRETRAIN_BATCH):
        batch = pad(rows[start : start + PRETRAIN_BATCH])
        batch, labels = mask_words(batch, generator, model.config.vocab_size)
        logits = model(**batch).prediction_logits.flatten(0, 1)
        total += cross_entropy(logits, labels.flatten(), reduction="sum").item()
        count += int((labels >= 0).sum())
    return total / count


@torch.no_grad()
def segment_accuracy(model: PreTrainedModel, rows: list[Batch], stories: list[Story]) -> float:
    """Measure how often the base sees whether the second segment is right."""
    right = 0
    for start in range(0, len(rows), PRETRAIN_BATCH):
        batch = pad(rows[start : start + PRETRAIN_BATCH])
        del batch["answers"]
        guess = model(**batch).seq_relationship_logits.argmax(-1)
        part = stories[start : start + PRETRAIN_BATCH]
        right += int((guess == torch.tensor([story.apart for story in part])).sum())
    return right / len(rows)


def examine(model: PreTrainedModel, rows: list[Batch], stories: list[Story]) -> Exam:
    """Measure both tasks on held-out stories."""
    return Exam(masked_word_loss(model, rows), segment_accuracy(model, rows, stories))


def pretrain(
    tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]
) -> tuple[BertForPreTraining, dict[int, Exam]]:
    """Train the base, on anything but `pairs`; return it and its progress by step."""
    torch.manual_seed(BASE_SEED)
    model = BertForPreTraining(base_config(len(tokenizer)))
    stories = draw_stories(pairs)
    rows = encode_stories(tokenizer, stories)
    held = rows[-HELD_STORIES:], stories[-HELD_STORIES:]
    rows = rows[:-HELD_STORIES]
    groups = list(shuffled(rows, PRETRAIN_BATCH, random.Random(BASE_SEED)))
    training, progress = Training(model, PRETRAIN_RATE, len(groups)), {}
    generator = torch.Generator().manual_seed(BASE_SEED)
    for step, group in enumerate(groups):
        if step % REPORT_EVERY == 0:
            progress[step] = examine(model, *held)
            print(f"step {step}: {progress[step]}", flush=True)
        batch, labels = mask_words(pad([rows[i] for i in group]), generator, len(tokenizer))
        apart = torch.tensor([stories[i].apart for i in group])
        training.step(model(**batch, labels=labels, next_sentence_label=apart).loss)
    return model.eval(), progress | {len(groups): examine(model, *held)}


# -------------------------------------------------------------- fine-tuning


def make_classifier(base: State, size: int) -> BertForSequenceClassification:
    """Put the first head, the same for all fine-tunes, on the base's encoder."""
    torch.manual_seed(HEAD_SEED)
    config = base_config(size)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: index for index, label in enumerate(LABELS)}
    model = BertForSequenceClassification(config)
    encoder = {name: tensor for name, tensor in base.items() if name.startswith("bert.")}
    missing, unexpected = model.load_state_dict(encoder, strict=False)
    assert sorted(missing) == ["classifier.bias", "classifier.weight"] and not unexpected
    return model


def fine_tune(
    base: State, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair], recipe: Recipe
) -> BertForSequenceClassification:
    """Train one fine-tune from the base."""
    model = make_classifier(base, len(tokenizer))
    rows = encode(tokenizer, [(p.sentence1, p.sentence2) for p in pairs])
    labels = torch.tensor([p.label for p in pairs])
    rng = random.Random(recipe.seed)
    groups = [g for _ in range(recipe.epochs) for g in shuffled(rows, TUNE_BATCH, rng)]
    training = Training(model, recipe.rate, len(groups))
    for group in groups:
        output = model(**pad([rows[i] for i in group]), labels=labels[group])
        training.step(output.loss)
    return model.eval()


@torch.no_grad()
def accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]
) -> float:
    """Measure the share of pairs that a classifier labels rightly."""
    rows = encode(tokenizer, [(p.sentence1, p.sentence2) for p in pairs])
    labels, right = torch.tensor([p.label for p in pairs]), 0
    for start in range(0, len(rows), 100):
        guess = model(**pad(rows[start : start + 100])).logits.argmax(-1)
        right += int((guess == labels[start : start + 100]).sum())
    return right / len(rows)
