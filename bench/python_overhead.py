"""Overheads of the Python package beside plain torch, as ratios of the best of several runs.

python_overhead.py [MODEL DATA]    MODEL, DATA: also an evaluation in a sweep, on RTE
"""

import sys
import time

import torch

import mergecraft
from mergecraft import StateDict, dict_map

LAYERS = 73  # of the bundled demo models


def report(what, ours, plain, times, runs=9):
    """Prints the best times. The two alternate, so that both meet the same other load."""
    found = [[], []]
    for _ in range(runs):
        for function, seconds in zip((ours, plain), found):
            start = time.perf_counter()
            for _ in range(times):
                function()
            seconds.append((time.perf_counter() - start) / times)
    a, b = (min(seconds) * 1e6 for seconds in found)
    print(f"{what}: {a:.0f} us, plain {b:.0f} us, ratio {a / b:.2f}")


def tensors():
    return {f"layer.{i}.weight": torch.randn(64, 64) for i in range(LAYERS)}


def arithmetic():
    a, b = tensors(), tensors()
    x, y = StateDict(a), StateDict(b)
    report("a + b", lambda: x + y, lambda: {name: a[name] + b[name] for name in a}, 200)


def mapping():
    dicts = [tensors() for _ in range(3)]
    states = [StateDict(each) for each in dicts]

    def mean(models):
        return sum(models) / len(models)

    ours = dict_map(mean)
    report(
        "dict_map",
        lambda: ours(states, verbose=False),
        lambda: {name: mean([d[name] for d in dicts]) for name in dicts[0]},
        50,
    )


def sweep(model, data):
    pipeline = mergecraft.Pipeline(model)
    weights = pipeline.state_dict()
    other = StateDict((name, weights[name].clone()) for name in weights)
    examples = mergecraft._core.glue_data("rte", "validation", data)
    texts = [(text, pair) for text, pair, _ in examples.examples()]
    report(
        "evaluation",
        lambda: mergecraft.evaluate(pipeline.load(other), "rte", path=data, verbose=False),
        lambda: pipeline.logits(texts, verbose=False),
        1,
    )


arithmetic()
mapping()
if len(sys.argv) == 3:
    sweep(*sys.argv[1:])
