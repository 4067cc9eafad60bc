"""Writes metrics.txt: predictions and labels, and what scikit-learn and scipy make of them, as Python's `evaluate` calls them for GLUE.

    make_metrics.py        with numpy, scipy and scikit-learn

A case is four lines: task and number of examples, predictions, labels, and the values of the task's metrics in its order.
NaN stands where the reference refuses to answer.
"""

import warnings
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

warnings.simplefilter("ignore")
RNG = np.random.default_rng(1)
NONE = float("nan")


def answer(function, *arguments):
    try:
        return float(function(*arguments))
    except ValueError:
        return NONE


def accuracy(predictions, labels):
    return (predictions == labels).mean()


METRICS = {
    "rte": [accuracy],
    "mnli": [accuracy],
    "mrpc": [accuracy, lambda p, l: f1_score(y_true=l, y_pred=p)],
    "cola": [lambda p, l: matthews_corrcoef(l, p)],
    "ax": [lambda p, l: matthews_corrcoef(l, p)],
    "stsb": [lambda p, l: pearsonr(p, l)[0], lambda p, l: spearmanr(p, l)[0]],
}


def show(values):
    return " ".join(repr(float(v)) for v in values)


def case(task, predictions, labels):
    p, l = np.asarray(predictions, float), np.asarray(labels, float)
    kept = ~np.isnan(l)
    values = [answer(metric, p[kept], l[kept]) for metric in METRICS[task]]
    return f"{task} {len(p)}\n{show(p)}\n{show(l)}\n{show(values)}\n"


def classes(task, count):
    """Cases of whole numbers below `count`: random, of every quality; and all that may be special."""
    for size in (1, 2, 3, 5, 10, 40, 277):
        for quality in (0, 0.5, 0.9, 1):
            labels = RNG.integers(0, count, size)
            guess = RNG.integers(0, count, size)
            yield np.where(RNG.random(size) < quality, labels, guess), labels
    skewed = RNG.choice(count, 200, p=[0.97] + [0.03 / (count - 1)] * (count - 1))
    yield RNG.permutation(skewed), skewed
    yield skewed * 0, skewed
    yield skewed, skewed * 0
    for value in range(count):
        yield np.full(6, value), np.full(6, value)
        yield np.full(6, value), np.arange(6) % count
        yield np.arange(6) % count, np.full(6, value)
    yield np.zeros(4), np.ones(4)
    yield np.arange(6) % count, (np.arange(6) + 1) % count
    yield [], []
    yield [0, NONE, 1], [0, 1, 1]
    yield [0, 1, 1, 0], [0, NONE, 1, 1]
    yield [0, NONE], [1, NONE]
    yield [1, 0], [NONE, NONE]


def values():
    for size in (2, 3, 5, 30, 277):
        for noise in (0, 0.1, 1, 10):
            labels = RNG.random(size) * 5
            yield labels + noise * RNG.standard_normal(size), labels
            yield labels + noise * RNG.standard_normal(size), np.round(labels)  # ties
            yield np.round(labels + noise * RNG.standard_normal(size)), np.round(labels * 5) / 5
    some = RNG.random(50)
    yield some, -some
    yield some * 1e-200, some[::-1]
    yield some * 1e200, some[::-1]
    yield some + 1e6, some[::-1]
    yield some.astype(np.float32), some
    yield np.full(9, 2.5), np.arange(9) / 2
    yield np.arange(9), np.full(9, 0.1)
    yield np.full(9, 0.1), np.full(9, 0.1)
    yield [0.0, -0.0, 1, 1], [1, 2, 3, 3]
    yield [5], [5]
    yield [], []
    yield [1, NONE, 3], [1, 2, 3]
    yield [1, 5, 3], [1, NONE, 3]


with open(Path(__file__).parent / "metrics.txt", "w") as out:
    for task, count in {"rte": 2, "mnli": 3, "mrpc": 2, "cola": 2, "ax": 3}.items():
        out.writelines(case(task, p, l) for p, l in classes(task, count))
    out.writelines(case("stsb", p, l) for p, l in values())
