"""Writes metrics.txt, losses.txt and mcnemar.txt: inputs, and results of scikit-learn and scipy.

    make_metrics.py        with numpy, scipy and scikit-learn

A case of metrics.txt is five lines: task and number of examples, predictions, labels, the values of
the task's metrics in its order, and their standard errors by the delete-one jackknife. The task
own5 is data of one's own with five labels. NaN stands where the reference refuses to answer.

A case of losses.txt is five lines: examples and columns, logits, labels, mean loss, standard error.
A case of mcnemar.txt is five lines: examples, first, second, labels, p-value.
"""

import warnings
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, pearsonr, sem, spearmanr
from sklearn.metrics import f1_score, log_loss, matthews_corrcoef

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
    "own5": [accuracy, lambda p, l: f1_score(y_true=l, y_pred=p, average="macro")],
    "ax": [lambda p, l: matthews_corrcoef(l, p)],
    "stsb": [lambda p, l: pearsonr(p, l)[0], lambda p, l: spearmanr(p, l)[0]],
}


def jackknife(metric, p, l):
    if len(p) < 2 or np.isnan(answer(metric, p, l)) or (metric in METRICS["stsb"] and len(p) < 3):
        return NONE
    keep = ~np.eye(len(p), dtype=bool)
    left_out = np.array([answer(metric, p[k], l[k]) for k in keep])
    return np.sqrt((len(p) - 1) * left_out.var())


def show(values):
    return " ".join(repr(float(v)).removesuffix(".0") for v in values)


def case(task, predictions, labels):
    p, l = np.asarray(predictions, float), np.asarray(labels, float)
    kept = ~np.isnan(l)
    values = [answer(metric, p[kept], l[kept]) for metric in METRICS[task]]
    errors = [jackknife(metric, p[kept], l[kept]) for metric in METRICS[task]]
    return f"{task} {len(p)}\n{show(p)}\n{show(l)}\n{show(values)}\n{show(errors)}\n"


def classes(task, count):
    """Cases of integers below `count`: random, of every quality; and special ones."""
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


def losses():
    for columns in (1, 2, 3, 7):
        for count in (0, 1, 2, 30):
            scale = RNG.choice([1, 100])
            logits = (
                (RNG.standard_normal((count, columns)) * scale).astype(np.float32).astype(float)
            )
            labels = (
                RNG.integers(0, columns, count).astype(float) if columns > 1 else RNG.random(count)
            )
            labels[RNG.random(count) < 0.1] = NONE
            kept = ~np.isnan(labels)
            if columns == 1:
                loss = (logits[kept, 0] - labels[kept]) ** 2
            else:
                rows, l = logits[kept], labels[kept].astype(int)
                top = rows.max(axis=1, keepdims=True) if len(rows) else rows
                loss = (
                    np.log(np.exp(rows - top).sum(axis=1)) + top[:, 0] - rows[range(len(l)), l]
                    if len(rows)
                    else np.zeros(0)
                )
                if len(l) and scale == 1:  # probabilities near 0 lose digits in scikit-learn's
                    p = np.exp(rows - top)
                    p /= p.sum(axis=1, keepdims=True)
                    assert abs(log_loss(l, p, labels=range(columns)) - loss.mean()) < 1e-9
            mean = loss.mean() if len(loss) else NONE
            error = sem(loss) if len(loss) > 1 else NONE
            lines = [f"{count} {columns}", show(logits.ravel()), show(labels)]
            lines += [show([mean]), show([error])]
            yield "\n".join(lines) + "\n"


def comparisons():
    for count, quality, other in (
        (0, 0, 0),
        (1, 1, 0),
        (20, 0.5, 0.9),
        (277, 0.6, 0.7),
        (277, 0.6, 0.6),
        (2000, 0.5, 0.95),
        (50, 1, 1),
    ):
        labels = RNG.integers(0, 2, count).astype(float)
        first = np.where(RNG.random(count) < quality, labels, 1 - labels)
        second = np.where(RNG.random(count) < other, labels, 1 - labels)
        labels[RNG.random(count) < 0.05] = NONE
        kept = ~np.isnan(labels)
        a, b = (first == labels)[kept], (second == labels)[kept]
        n, k = int((a != b).sum()), int((a & ~b).sum())
        p = binomtest(k, n, 0.5).pvalue if n else 1
        yield f"{count}\n{show(first)}\n{show(second)}\n{show(labels)}\n{show([p])}\n"


HERE = Path(__file__).parent
(HERE / "losses.txt").write_text("".join(losses()))
(HERE / "mcnemar.txt").write_text("".join(comparisons()))
with open(HERE / "metrics.txt", "w") as out:
    for task, count in {"rte": 2, "mnli": 3, "mrpc": 2, "cola": 2, "ax": 3, "own5": 5}.items():
        out.writelines(case(task, p, l) for p, l in classes(task, count))
    out.writelines(case("stsb", p, l) for p, l in values())
