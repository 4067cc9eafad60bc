"""Five real fine-tunes merged by the command and by torch: the same numbers.

real.py MERGECRAFT DIR, where DIR holds minilm-base and minilm-rte-1 … -5 (f16, two shards each).

Tolerances: median and max_magnitude choose among their inputs or add one rounded difference, so
they are compared bit for
bit; the others are computed in float32 here and there, in another order of operations, and
rounded once to f16: 2e-6 of the largest input of the layer, and one unit in the last place of
f16 for values that fall on either side of a rounding boundary.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

COMMAND, WORK = sys.argv[1], Path(sys.argv[2])
MODELS = [WORK / f"minilm-rte-{i}" for i in range(1, 6)]
BASE = WORK / "minilm-base"
passed = failed = 0


def check(name: str, good: bool, detail: str = "") -> None:
    global passed, failed
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {name} {detail}", flush=True)


def merge(method: str, *options: str, models=MODELS, out: str = "out", **environment: str) -> Path:
    folder = WORK / out
    subprocess.run(
        [COMMAND, "merge", method, *map(str, models), "-o", str(folder), "--overwrite", "-q",
         *options],
        check=True,
        env={**os.environ, **environment},
    )
    return folder


def state_dict(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for file in folder.glob("*.safetensors") for name, t in load_file(file).items()}


def digest(folder: Path) -> str:
    sums = [hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(folder.glob("*.safetensors"))]
    return " ".join(sums)


FLOATS = [{n: t.float() for n, t in state_dict(m).items()} for m in MODELS]
BASE_FLOATS = {n: t.float() for n, t in state_dict(BASE).items()}


def stack(name: str) -> torch.Tensor:
    return torch.stack([m[name] for m in FLOATS])


def median(name):
    return torch.median(stack(name), dim=0).values


def soup(name):
    return stack(name).mean(0)


def task(name):
    base = BASE_FLOATS[name]
    return base + 1.5 * (stack(name) - base).mean(0)


def max_magnitude(name):
    base, vectors = BASE_FLOATS[name], stack(name) - BASE_FLOATS[name]
    return base + vectors.gather(0, vectors.abs().argmax(0, keepdim=True))[0]


def stock(name):
    base, center = BASE_FLOATS[name].double(), stack(name).double().mean(0)
    cosine = torch.cosine_similarity(base.flatten(), center.flatten(), dim=0).clamp(0, 1)
    ratio = 5 * cosine / (1 + 4 * cosine)
    return (ratio * center + (1 - ratio) * base).float()


def slerp(name):
    a, b = FLOATS[0][name].double(), FLOATS[1][name].double()
    cosine = float(numpy.float32(float(a.flatten() @ b.flatten() / (a.norm() * b.norm()))))
    if not 1e-7 < cosine < numpy.float32(1 - 1e-7):
        return (0.7 * a + 0.3 * b).float()
    theta = numpy.arccos(cosine)
    return ((numpy.sin(0.7 * theta) * a + numpy.sin(0.3 * theta) * b) / numpy.sin(theta)).float()


def ties(name):
    base, vectors = BASE_FLOATS[name], stack(name) - BASE_FLOATS[name]
    size = numpy.abs(vectors.numpy())
    threshold = numpy.float32(numpy.quantile(size.astype(numpy.float64), 1 - 0.1))
    kept = torch.where(torch.from_numpy(size >= threshold), vectors, torch.zeros(()))
    total = kept.sum(0)
    agree = (torch.sign(kept) == torch.sign(total)) & (kept != 0)
    count = agree.sum(0)
    mean = torch.where(agree, kept, torch.zeros(())).sum(0) / count.clamp(min=1)
    return base + torch.where(total == 0, torch.zeros(()), mean)


CASES = {
    "median": (median, [], MODELS, True),
    "soup": (soup, [], MODELS, False),
    "task": (task, ["--base", str(BASE), "-p", "scale=1.5"], MODELS, False),
    "max_magnitude": (max_magnitude, ["--base", str(BASE)], MODELS, True),
    "stock": (stock, ["--base", str(BASE)], MODELS, False),
    "slerp": (slerp, ["-p", "tau=0.3"], MODELS[:2], False),
    "ties": (ties, ["--base", str(BASE), "-p", "k=0.1"], MODELS, False),
}


def compare(method: str) -> None:
    reference, options, models, exact = CASES[method]
    merged = state_dict(merge(method, *options, models=models))
    worst, wrong = 0.0, 0
    for name, found in merged.items():
        wanted = reference(name)
        if exact:
            wrong += int((wanted.half().view(torch.int16) != found.view(torch.int16)).sum())
            continue
        difference = (wanted.half().float() - found.float()).abs()
        step = wanted.abs() * 2**-10 + 2**-24
        allowed = step + 2e-6 * stack(name).abs().max()
        wrong += int((~(difference <= allowed)).sum())
        worst = max(worst, float(difference.max()))
    check(f"{method} as torch", wrong == 0 and len(merged) == len(FLOATS[0]),
          f"largest difference {worst:.2g}")


def same_bits(method: str, *options: str, models=MODELS) -> None:
    first = digest(merge(method, *options, models=models))
    ways = [("--threads", str(n)) for n in (1, 2, 3, 7)] + [("--memory", m)
                                                            for m in ("300KB", "3MB", "64MB")]
    good = all(digest(merge(method, *options, *way, models=models)) == first for way in ways)
    for level in ("scalar", "avx2", "avx512"):
        good &= digest(merge(method, *options, models=models, MERGECRAFT_CPU=level)) == first
    check(f"{method}: the same bits for any threads, memory and CPU level", good)


def loads() -> None:
    folder = merge("median", out="loads")
    model, report = AutoModelForSequenceClassification.from_pretrained(folder,
            output_loading_info=True)
    complete = not any(report[key] for key in ("missing_keys", "unexpected_keys",
                                               "mismatched_keys"))
    check("transformers loads the merge", complete and model.config.dtype == torch.float16)
    sharded = merge("median", "--shard-size", "10MB", out="sharded")
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    model2 = AutoModelForSequenceClassification.from_pretrained(sharded)
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), model2.parameters()))
    check("transformers loads the merge in shards",
          same and len(set(index["weight_map"].values())) > 1)


def main() -> None:
    for method in CASES:
        compare(method)
        same_bits(method, *CASES[method][1], models=CASES[method][2])
    same_bits("dare", "--base", str(BASE), "-p", "p=0.4", "--seed", "7")
    loads()
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
