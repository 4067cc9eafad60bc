"""Compares transplants of vocabularies with mergekit-tokensurgeon 0.1.5, row by row.

    python tests/real/transplant.py build/release/mergecraft

Needs mergekit 0.1.5 with its torch and transformers. Pairs of models are made by
make_vocabularies.py. Products in float32 are summed in another order there, so rows are compared
within a tolerance. Tokens that the donor has twice in normal form, such as special tokens without a
role of their own, are left out: mergekit gives one of them a row of zeros. --speed measures omp.
"""

import logging
import pathlib
import subprocess
import sys
import tempfile
import time

import make_vocabularies
import torch
from mergekit.common import ModelReference
from mergekit.scripts import tokensurgeon
from mergekit.tokenizer.normalization import normalized_vocabulary
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")
METHODS = {"omp": "omp", "common": "common_interpolation", "mean": "mean", "zero": "zero"}


def load(folder):
    files = sorted(pathlib.Path(folder).glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def transplant(command, model, donor, out, method, neighbours):
    subprocess.run([command, "transplant", model, donor, "-o", out, "-m", method, "-k",
                    str(neighbours), "--quiet"], check=True)


def surgeon(model, donor, out, method, neighbours):
    tokensurgeon.main.main([str(model), str(donor), str(out), "-a", METHODS[method], "-k",
                            str(neighbours), "--quiet"], standalone_mode=False)


def check(case, model, donor, ours, theirs):
    mine, reference = load(ours), load(theirs)
    if set(mine) != set(reference):
        sys.exit(f"{case}: tensors {set(mine) ^ set(reference)}")
    vocabularies = [normalized_vocabulary(AutoTokenizer.from_pretrained(m)) for m in (model, donor)]
    ids = sorted(vocabularies[1].values())
    for name, tensor in reference.items():
        if tensor.shape != mine[name].shape:
            sys.exit(f"{case}: {name}: expected {tensor.shape}, found {mine[name].shape}")
        a, b = mine[name].float(), tensor.float()
        if name in VOCABULARY:
            a, b = a[ids], b[ids]
        error = (a - b).norm(dim=-1) / b.norm(dim=-1).clamp(min=1e-3)
        if error.max() > (1e-3 if tensor.dtype == torch.float32 else 2e-2):
            worst = error.argmax()
            sys.exit(f"{case}: {name}, row {worst}: differs by {error.max():.2g}")


def compare(command, scratch):
    logging.disable(logging.WARNING)
    # In float32: mergekit's own products fail in other dtypes.
    for number in range(0, 30, 3):
        folder = scratch / f"case{number}"
        make_vocabularies.make_case(folder, number)
        for method in METHODS:
            ours, theirs = scratch / f"{number}-{method}-a", scratch / f"{number}-{method}-b"
            transplant(command, folder / "first", folder / "second", ours, method, 6)
            surgeon(folder / "first", folder / "second", theirs, method, 6)
            check(f"case {number}, {method}", folder / "first", folder / "second", ours, theirs)
    print("10 pairs, 4 methods: rows as mergekit-tokensurgeon 0.1.5")


def measure(command, scratch, common=8000, new=2048, width=512):
    """The time of both with `new` tokens that are approximated by `common` ones."""
    import json
    generator = torch.Generator().manual_seed(1)
    for name, tokens in (("model", common), ("donor", common + new)):
        vocab = {f"t{i}": i for i in range(tokens)}
        text = json.dumps({"version": "1.0", "added_tokens": [], "normalizer": None,
                           "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
                           "decoder": None, "model": {"type": "WordLevel", "vocab": vocab,
                                                      "unk_token": "t0"}})
        make_vocabularies.HIDDEN = width
        make_vocabularies.write_model(scratch / name, text, {}, tokens, True, torch.float32,
                                      make_vocabularies.random.Random(tokens))
    seconds = []
    for run in (transplant, surgeon):
        arguments = [scratch / "model", scratch / "donor", scratch / run.__name__, "omp", 64]
        began = time.monotonic()
        run(*([command] if run is transplant else []), *arguments)
        seconds.append(time.monotonic() - began)
    print(f"omp, {new} new tokens, {common} common, width {width}: {seconds[0]:.2f} s, mergekit "
          f"{seconds[1]:.2f} s: {seconds[1] / seconds[0]:.1f}×")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if "--speed" in sys.argv:
            measure(sys.argv[1], pathlib.Path(folder), *map(int, sys.argv[3:]))
        else:
            compare(sys.argv[1], pathlib.Path(folder))
