"""Overheads of the Python package beside plain torch, as ratios of the best of several runs.

python_overhead.py [MODEL DATA]    MODEL, DATA: also an evaluation in a sweep, on RTE
"""

import sys
import time

import torch

import mergecraft
from mergecraft import StateDict, dict_map

LAYERS = 73  # of the bundled demo models


def best(function, times=200, runs=7):
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(times):
            function()
        found.append((time.perf_counter() - start) / times)
    return min(found)


def tensors():
    return {f"layer.{i}.weight": torch.randn(64, 64) for i in range(LAYERS)}


def report(what, ours, plain):
    print(f"{what}: {ours * 1e6:.0f} us, plain {plain * 1e6:.0f} us, ratio {ours / plain:.2f}")


def arithmetic():
    a, b = tensors(), tensors()
    x, y = StateDict(a), StateDict(b)
    report("a + b", best(lambda: x + y), best(lambda: {name: a[name] + b[name] for name in a}))


def mapping():
    dicts = [tensors() for _ in range(3)]
    states = [StateDict(each) for each in dicts]

    def mean(models):
        return sum(models) / len(models)

    ours = dict_map(mean)
    plain = best(lambda: {name: mean([d[name] for d in dicts]) for name in dicts[0]}, 50)
    report("dict_map", best(lambda: ours(states, verbose=False), 50), plain)


def sweep(model, data):
    pipeline = mergecraft.Pipeline(model)
    weights = pipeline.state_dict()
    other = StateDict((name, weights[name].clone()) for name in weights)
    examples = mergecraft._core.glue_data("rte", "validation", data)
    texts = [(text, pair) for text, pair, _ in examples.examples()]
    pipeline.logits(texts, verbose=False)
    ours = best(
        lambda: mergecraft.evaluate(pipeline.load(other), "rte", path=data, verbose=False), 1
    )
    report("evaluation", ours, best(lambda: pipeline.logits(texts, verbose=False), 1))


arithmetic()
mapping()
if len(sys.argv) == 3:
    sweep(*sys.argv[1:])
