"""Compares merges of models with different vocabularies with mergekit 0.1.5, row by row.

    python tests/real/vocabularies.py build/release/mergecraft [RECIPES]

Needs mergekit 0.1.5 with its torch and transformers. 30 pairs of models and 10 odd ones are made by
make_vocabularies.py; RECIPES is a folder of recipes and make_models.py, whose recipes with a
tokenizer are compared, too. Rows are matched by the texts of tokens: mergekit does not define an
order of the tokens that it adds. The written tokenizers are loaded in the packages tokenizers and
transformers, and give the same tokens on 100,000 texts.
"""

import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unicodedata

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import make_vocabularies  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

CASES = 30
TEXTS = 100_000
# Recipes with a tokenizer and a method that draws no random numbers.
RECIPES = ("04", "08", "12", "44", "46")
# Recipes of models with adapters, which mergekit first merges by PEFT, in float32 here.
ADAPTERS = ("20", "42")
VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")


def differences(ours, theirs, dtype):
    """The largest difference, in units of the last place of values of that size, at least 0.1."""
    ours, theirs = ours.double(), theirs.double()
    unit = torch.finfo(dtype).eps * theirs.abs().clamp(min=0.1)
    return ((ours - theirs).abs() / unit).max().item() if ours.numel() else 0.0


def check_rows(case, name, ours, theirs, our_ids, their_ids, limit):
    texts = sorted(our_ids)
    mine = ours[[our_ids[text] for text in texts]]
    other = theirs[[their_ids[text] for text in texts]]
    found = differences(mine, other, theirs.dtype)
    worst = (mine.double() - other.double()).abs().max(dim=1).values.argmax().item()
    assert found <= limit, f"{case}: {name}: {texts[worst]!r} differs by {found} units"
    padding, expected = ours[len(texts):].double(), theirs[len(texts):].double()
    assert ours.shape == theirs.shape, f"{case}: {name}: {ours.shape}, not {theirs.shape}"
    if padding.numel():
        apart = (padding - expected).abs().max().item()
        assert apart <= 16 * torch.finfo(theirs.dtype).eps, f"{case}: {name}: padding by {apart}"


def check_tensors(case, ours, theirs, limit):
    mine, other = load_file(ours / "model.safetensors"), load_file(theirs / "model.safetensors")
    our_ids, their_ids = (
        Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
        for folder in (ours, theirs))
    assert our_ids.keys() == their_ids.keys(), \
        f"{case}: tokens differ: {our_ids.keys() ^ their_ids.keys()}"
    assert mine.keys() == other.keys(), f"{case}: tensors {mine.keys() ^ other.keys()}"
    for name, tensor in other.items():
        assert mine[name].dtype == tensor.dtype, f"{case}: {name}: {mine[name].dtype}"
        if name in VOCABULARY:
            check_rows(case, name, mine[name], tensor, our_ids, their_ids, limit)
        else:
            found = differences(mine[name], tensor, tensor.dtype)
            assert found <= limit, f"{case}: {name} differs by {found} units"
    sizes = [json.loads((folder / "config.json").read_text())["vocab_size"]
             for folder in (ours, theirs)]
    assert sizes[0] == sizes[1] == mine[VOCABULARY[0]].shape[0], f"{case}: vocab_size {sizes}"


def check_texts(case, ours, theirs, count, same_order):
    """The same ids in both packages, and the same tokens as mergekit's tokenizer.

    Without a base model, mergekit extends the tokenizer of an arbitrary model.
    """
    texts = make_vocabularies.texts(count, case)
    mine = Tokenizer.from_file(str(ours / "tokenizer.json"))
    other = Tokenizer.from_file(str(theirs / "tokenizer.json"))
    loaded = AutoTokenizer.from_pretrained(ours)

    def normal(tokens):
        """Which of several added tokens with one normalised form is found depends on the run."""
        return [unicodedata.normalize("NFKC", token).casefold() for token in tokens]

    for text, a, b, ids in zip(texts, mine.encode_batch(texts), other.encode_batch(texts),
                               loaded(texts)["input_ids"]):
        same = not same_order or a.tokens == b.tokens or normal(a.tokens) == normal(b.tokens)
        assert same, f"{case}: {text!r}: {a.tokens}, not {b.tokens}"
        same = a.ids == ids or (normal(map(mine.id_to_token, a.ids)) ==
                                normal(map(mine.id_to_token, ids)))
        assert same, (f"{case}: {text!r}: {a.tokens}, in transformers "
                      f"{[mine.id_to_token(i) for i in ids]}")


def run_both(mergecraft, recipe, folder):
    text = yaml.safe_dump(recipe, allow_unicode=True) if isinstance(recipe, dict) else recipe
    path = folder / "recipe.yml"
    path.write_text(text, encoding="utf-8")
    ours, theirs = folder / "ours", folder / "theirs"
    subprocess.run([mergecraft, "merge", str(path), "-q", "--no-sync", "--overwrite", "-o",
                    str(ours)], check=True)
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(theirs),
              MergeOptions(write_model_card=False, quiet=True,
                           lora_merge_cache=str(folder / "loras"), lora_merge_dtype="float32"))
    return ours, theirs


def check_case(mergecraft, number, folder):
    here = folder / str(number)
    recipe = make_vocabularies.make_case(here, number)
    os.chdir(here)
    ours, theirs = run_both(mergecraft, recipe, here)
    exact = all(model["parameters"]["weight"] in (0, 1) for model in recipe["models"])
    exact &= recipe["merge_method"] == "linear"
    check_tensors(number, ours, theirs, 0 if exact else 4)
    ordered = "base_model" in recipe or recipe["tokenizer"]["source"] not in ("base", "union")
    check_texts(number, ours, theirs, TEXTS // CASES + 1, ordered)


def check_odd(mergecraft, number, name, folder):
    here = folder / f"odd-{number}"
    recipe = make_vocabularies.make_odd(here, name)
    os.chdir(here)
    ours, theirs = run_both(mergecraft, recipe, here)
    check_tensors(name, ours, theirs, 4)
    # Kinds of tokenizers have texts of their own: see make_vocabularies.texts.
    seed = make_vocabularies.KINDS.index(make_vocabularies.ODD[name][0])
    check_texts(seed, ours, theirs, 300, True)


def check_recipe(mergecraft, path, models, folder, texts=200):
    here = folder / path.stem
    here.mkdir()
    os.chdir(models)
    # mergekit rounds after every operation: in float32 that is as good as once.
    text = re.sub(r"dtype: b?float16", "dtype: float32", path.read_text())
    ours, theirs = run_both(mergecraft, text, here)
    check_tensors(path.stem, ours, theirs, 16)
    # Without decomposed accents: mergekit saves the tokenizer of Qwen2 with a normalizer.
    if texts:
        check_texts(1002, ours, theirs, texts, True)


def main(mergecraft, recipes=None):
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    mergecraft = os.path.abspath(mergecraft)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        models = folder / "models"
        making = recipes and subprocess.Popen(
            [sys.executable, f"{recipes}/make_models.py", str(models)], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        recipes = recipes and pathlib.Path(recipes).resolve()
        for number in range(CASES):
            check_case(mergecraft, number, folder)
        print(f"{CASES} pairs of vocabularies: rows and {TEXTS} texts as mergekit 0.1.5")
        for number, name in enumerate(make_vocabularies.ODD):
            check_odd(mergecraft, number, name, folder)
        print(f"{len(make_vocabularies.ODD)} odd vocabularies: as mergekit 0.1.5")
        if making:
            assert making.wait() == 0, "make_models.py failed"
            for number in RECIPES:
                check_recipe(mergecraft, next(recipes.glob(f"{number}-*.yml")), models, folder)
            print(f"{len(RECIPES)} recipes: rows as mergekit 0.1.5")
            for number in ADAPTERS:
                check_recipe(mergecraft, next(recipes.glob(f"{number}-*.yml")), models, folder, 0)
            print(f"{len(ADAPTERS)} recipes with adapters: as mergekit 0.1.5")
        os.chdir("/")


if __name__ == "__main__":
    main(*sys.argv[1:])
