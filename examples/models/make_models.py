"""Make the demo models: data, a pretrained BERT base, and five fine-tunes.

    python examples/models/make_models.py --output DIR

All that is random comes from the seeds in this folder: the same versions of
torch and transformers on the same kind of processor make the same tensors.
"""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dataset import Pair, make_splits, simple_baselines, write_splits
from training import Exam, Recipe, State, accuracy, fine_tune, pretrain
from vocabulary import make_tokenizer, write_vocabulary

RECIPES = (
    Recipe("rte-1", seed=101, rate=3e-4, epochs=4, form="safetensors"),
    Recipe("rte-2", seed=202, rate=4e-4, epochs=4, form="sharded"),
    Recipe("rte-3", seed=303, rate=5e-4, epochs=4, form="zip bin"),
    Recipe("rte-4", seed=404, rate=4e-4, epochs=3, form="old bin"),
    Recipe("rte-5", seed=505, rate=6e-4, epochs=3, form="float16"),
)


# ------------------------------------------------------------------- saving


def save_base(model: PreTrainedModel, folder: Path) -> None:
    """Write the base as masked-language-model checkpoints name themselves."""
    model.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["architectures"] = ["BertForMaskedLM"]
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _save_shards(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="500KB")


def _save_half(model: PreTrainedModel, folder: Path) -> None:
    model.half().save_pretrained(folder)


def _save_bin(model: PreTrainedModel, folder: Path, *, zipped: bool) -> None:
    # transformers 5 reads this form but no longer writes it.
    model.config.architectures, model.config.dtype = [type(model).__name__], model.dtype
    model.config.save_pretrained(folder)
    state = OrderedDict(model.state_dict())
    path = folder / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)


FORMS: dict[str, Callable[[PreTrainedModel, Path], None]] = {
    "safetensors": lambda model, folder: model.save_pretrained(folder),
    "sharded": _save_shards,
    "zip bin": lambda model, folder: _save_bin(model, folder, zipped=True),
    "old bin": lambda model, folder: _save_bin(model, folder, zipped=False),
    "float16": _save_half,
}


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the tokenizer's files and the vocabulary beside a model."""
    tokenizer.save_pretrained(folder)
    write_vocabulary(folder)


# ---------------------------------------------------------------- verifying


def load(kind: type, folder: Path) -> PreTrainedModel:
    """Load a folder as its readers will, in f32, with no head left to chance."""
    model, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"], report
    return model.eval()


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, folder: Path, pairs: list[Pair]
) -> None:
    """Make sure that the tokenizer in a folder is the one trained with."""
    stored = AutoTokenizer.from_pretrained(folder)
    texts = [pair.sentence1 for pair in pairs]
    assert stored(texts)["input_ids"] == tokenizer(texts)["input_ids"]


def check_base(exams: list[Exam]) -> None:
    """Make sure that the base learned to fill in words and to compare segments."""
    # A base that cannot compare segments makes fine-tunes little above chance.
    assert exams[-1].masked_word_loss < exams[0].masked_word_loss / 3, exams[-1]
    assert exams[-1].segment_accuracy > 0.8, exams[-1]


def check_moved(base: State, tuned: State) -> None:
    """Make sure that fine-tuning moved each tensor it shares with the base."""
    shared = [name for name in tuned if name.startswith("bert.")]
    assert shared and all(name in base for name in shared)
    still = [name for name in shared if torch.equal(tuned[name], base[name])]
    assert not still, still


def merge(states: list[State], how: str) -> State:
    """Take the element-wise mean or median of several models."""
    stacks = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    if how == "mean":
        return {name: stack.mean(0) for name, stack in stacks.items()}
    return {name: stack.median(0).values for name, stack in stacks.items()}


def measure(output: Path, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> dict:
    """Load all models from their folders and measure them and their merges."""
    base = load(AutoModelForMaskedLM, output / "base").state_dict()
    models = [load(AutoModelForSequenceClassification, output / r.name) for r in RECIPES]
    # Copies: the merges are measured in the first model's own tensors.
    states = [{n: t.clone() for n, t in model.state_dict().items()} for model in models]
    scores = {}
    for recipe, model in zip(RECIPES, models):
        check_tokenizer(tokenizer, output / recipe.name, pairs)
        scores[recipe.name] = accuracy(model, tokenizer, pairs)
    merges = {}
    for how in ("mean", "median"):
        models[0].load_state_dict(merge(states, how))
        merges[how] = accuracy(models[0], tokenizer, pairs)
    return {"models": scores, "mean of models": sum(scores.values()) / len(scores)} | merges


# ------------------------------------------------------------------- making


def make_fine_tune(
    base: State, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair],
    recipe: Recipe, folder: Path,
) -> None:
    """Train one fine-tune, check it against the base and store it."""
    print(f"fine-tuning {recipe.name}", flush=True)
    model = fine_tune(base, tokenizer, pairs, recipe)
    check_moved(base, model.state_dict())
    FORMS[recipe.form](model, folder)
    save_tokenizer(tokenizer, folder)


def make_all(output: Path) -> dict:
    """Make everything and return what was measured."""
    splits = make_splits()
    write_splits(splits, output / "data")
    tokenizer = make_tokenizer(output / "base")
    base, progress = pretrain(tokenizer, splits["train"] + splits["validation"])
    check_base(list(progress.values()))
    save_base(base, output / "base")
    save_tokenizer(tokenizer, output / "base")
    for recipe in RECIPES:
        folder = output / recipe.name
        make_fine_tune(base.state_dict(), tokenizer, splits["train"], recipe, folder)
    result = {"pairs": len(splits["validation"])}
    result |= measure(output, tokenizer, splits["validation"])
    exams = {step: exam._asdict() for step, exam in progress.items()}
    return result | {"baselines": simple_baselines(splits), "pretraining": exams}


def rounded(value: object) -> object:
    """Shorten the numbers of a report."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Read the command line and make the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="DIR")
    output = parser.parse_args().output
    # The number of threads changes the order of sums, and so the last bits.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    report = json.dumps(rounded(make_all(output)), indent=2)
    (output / "accuracy.json").write_text(report + "\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
