"""Measures merges of models with different vocabularies, and vocabulary transplants.

vocabularies.py union BUILD_DIR INPUTS [RUNS] [--out DIR]
vocabularies.py omp BUILD_DIR WORK [--surgeon PATH] [--common 32000] [--new 32000] [--share 1024]
                [--width 2048] [--batch 512]

union: INPUTS has llama-0, llama-1 and llama-2 of make_inputs.py: 1.2 billion parameters in bf16,
128,256 tokens. Their weights are merged with equal vocabularies and without a tokenizer (same), and
as a union of vocabularies: with 2,256 tokens of their own in one model (added), and with all tokens
of two models in other places besides (moved), which is the worst case, since no two adjacent
rows of the result are adjacent in a model. Whole processes, files in the page cache, in turn;
medians, and ratios of medians to `same`. The id maps are what a dry run takes more than one without
a tokenizer.

omp: a model with `common` tokens gets the vocabulary of a donor with `new` tokens more, by
orthogonal matching pursuit with 64 terms; against mergekit-tokensurgeon (--surgeon) on the same
CPUs, in float32 and batches of `batch` tokens, beyond which its memory would not suffice. It is
measured with `share` and with 2 · `share` new tokens, whose difference is its time per token, or
with all new tokens if they are at most `share`. Times are CPU seconds of all threads, so that other
processes do not count.
"""

import argparse
import json
import os
import random
import shutil
import statistics
from pathlib import Path

import checkpoint
import numpy as np
from measure import Cost, row, run, table

TOKENS, SPECIALS, ROWS = 128_000, 256, 128_256
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZĠéß0123456789"


# ---- inputs --------------------------------------------------------------------------------------


def words(count: int, seed: int, start: list[str]) -> list[str]:
    """Pieces like those of BPE: each is made of two earlier ones."""
    rng, made, seen = random.Random(seed), list(start), set(start)
    while len(made) < count:
        word = made[rng.randrange(len(made))] + made[rng.randrange(min(len(made), 3000))]
        if len(word) < 24 and word not in seen:
            seen.add(word)
            made.append(word)
    return made


def merges_of(vocabulary: list[str]) -> list[list[str]]:
    known, merges = set(vocabulary), []
    for word in vocabulary:
        cut = next((k for k in range(1, len(word)) if word[:k] in known and word[k:] in known), 0)
        if cut:
            merges.append([word[:cut], word[cut:]])
    return merges


def write_tokenizer(folder: Path, vocabulary: list[str], specials: list[str]) -> None:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
    added = [{"id": len(vocabulary) + i, "content": text, **flags}
             for i, text in enumerate(specials)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": {word: i for i, word in enumerate(vocabulary)},
                  "merges": merges_of(vocabulary)}}, ensure_ascii=False, indent=2))


def make_union_inputs(inputs: Path) -> dict[str, list[Path]]:
    base = words(TOKENS, 1, list(LETTERS))
    other = base[:-2000] + words(TOKENS, 2, base[:TOKENS - 3000])[-2000:]
    reserved = [f"<|reserved_{i}|>" for i in range(SPECIALS)]
    chat = [f"<|chat_{i}|>" for i in range(SPECIALS)]

    def moved(vocabulary: list[str], seed: int) -> list[str]:
        copy = list(vocabulary)
        random.Random(seed).shuffle(copy)
        return copy

    cases = {"same": [(base, reserved)] * 3,
             "added": [(base, reserved), (other, chat), (base, reserved)],
             "moved": [(base, reserved), (moved(other, 3), chat), (moved(base, 4), reserved)]}
    folders = {case: [inputs / f"{case}-{i}" for i in range(3)] for case in cases}
    for case, tokenizers in cases.items():
        for i, (folder, tokenizer) in enumerate(zip(folders[case], tokenizers)):
            if folder.exists():
                continue
            folder.mkdir()
            for name in ("config.json", "model.safetensors"):
                os.link(inputs / f"llama-{i}" / name, folder / name)
            write_tokenizer(folder, *tokenizer)
    return folders


# ---- union ---------------------------------------------------------------------------------------


def merge_command(build: Path, case: str, models: list[Path], target: list[str]) -> list[str]:
    chosen = [] if case == "same" else ["--tokenizer", "union"]
    return [str(build / "mergecraft"), "merge", "soup", *map(str, models), *chosen, *target]


def measure_union(options: argparse.Namespace) -> None:
    folders = make_union_inputs(options.inputs)
    out = (options.out or options.inputs) / "vocabularies-out"
    merges: dict[str, list[Cost]] = {case: [] for case in folders}
    plans: dict[str, list[Cost]] = {case: [] for case in folders}
    for turn in range(options.runs + 1):
        for case, models in folders.items():
            plan = run(merge_command(options.build, case, models, ["--dry-run", "-q"]), out, 0.01)
            whole = run(merge_command(options.build, case, models,
                                      ["--no-sync", "-q", "-o", str(out)]), out)
            if turn > 0:  # the first fills the page cache
                plans[case].append(plan)
                merges[case].append(whole)
    shutil.rmtree(out)

    def medians(costs: list[Cost]) -> tuple[float, float]:
        return (statistics.median(c.seconds for c in costs),
                statistics.median(c.private for c in costs) / 1e6)

    table(["vocabularies", "merge s", "× same", "id maps s", "id maps MB"])
    seconds, _ = medians(merges["same"])
    plan_seconds, plan_memory = medians(plans["same"])
    for case in folders:
        whole, (time, memory) = medians(merges[case])[0], medians(plans[case])
        row([case, f"{whole:.2f}", f"{whole / seconds:.2f}", f"{time - plan_seconds:.2f}",
             f"{memory - plan_memory:.0f}"])


# ---- omp -----------------------------------------------------------------------------------------


def make_words_model(folder: Path, tokens: int, width: int) -> Path:
    """A model with one embedding and a tokenizer of words t0, t1, …"""
    rng = np.random.default_rng(tokens)
    checkpoint.write(folder / "model.safetensors", "F32", {
        "model.embed_tokens.weight": (tokens, width), "model.norm.weight": (width,)},
        lambda name, count: rng.standard_normal(count, np.float32) * np.float32(0.02))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width,
        "intermediate_size": 4 * width, "num_hidden_layers": 0, "num_attention_heads": 8,
        "vocab_size": tokens, "tie_word_embeddings": True, "torch_dtype": "float32"}))
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(tokens)},
                  "unk_token": "t0"}}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def measure_omp(options: argparse.Namespace) -> None:
    work, common, width = options.work, options.common, options.width
    model = make_words_model(work / "model", common, width)

    def ours(donor: Path) -> Cost:
        return run([str(options.build / "mergecraft"), "transplant", str(model), str(donor), "-o",
                    str(work / "out"), "--no-sync", "-q"], work / "out")

    def surgeon(donor: Path) -> Cost:
        return run([options.surgeon, str(model), str(donor), str(work / "out"), "-a", "omp", "-k",
                    "64", "--batch-size", str(options.batch)], work / "out", 1)

    cost = ours(make_words_model(work / "donor", common + options.new, width))
    print(f"omp, {options.new} new tokens, {common} common, width {width}: {cost.cpu:.1f} s "
          f"({cost.seconds:.1f} s elapsed), {cost.resident / 1e6:.0f} MB", flush=True)
    if not options.surgeon:
        return
    share = options.share
    if share >= options.new:
        whole = surgeon(work / "donor")
        print(f"mergekit-tokensurgeon: {whole.cpu:.1f} s ({whole.seconds:.1f} s elapsed): "
              f"{whole.cpu / cost.cpu:.1f}×")
        return
    few, many = (surgeon(make_words_model(work / "donor", common + n, width))
                 for n in (share, 2 * share))
    each = (many.cpu - few.cpu) / share
    all_of_them = few.cpu + each * (options.new - share)
    print(f"mergekit-tokensurgeon: {few.cpu:.1f} s with {share}, {many.cpu:.1f} s with "
          f"{2 * share}; {all_of_them:.0f} s at {1000 * each:.1f} ms per token: "
          f"{all_of_them / cost.cpu:.1f}×")


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    kinds = parser.add_subparsers(required=True)
    union = kinds.add_parser("union")
    union.add_argument("build", type=Path)
    union.add_argument("inputs", type=Path)
    union.add_argument("runs", nargs="?", type=int, default=3)
    union.add_argument("--out", type=Path)
    union.set_defaults(measure=measure_union)
    omp = kinds.add_parser("omp")
    omp.add_argument("build", type=Path)
    omp.add_argument("work", type=Path)
    omp.add_argument("--surgeon", default="")
    for name, value in (("common", 32_000), ("new", 32_000), ("share", 1024), ("width", 2048),
                        ("batch", 512)):
        omp.add_argument(f"--{name}", type=int, default=value)
    omp.set_defaults(measure=measure_omp)
    options = parser.parse_args()
    options.measure(options)


main()
