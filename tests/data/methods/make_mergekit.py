"""Writes the golden results of the methods of the family mergekit: mergekit/METHOD.txt and .bin,
as make_methods.py does.

The methods are written down from their definitions, with whole arrays. What is discontinuous
(what is kept, which sign wins) is computed in the layer's type, everything smooth in float64.

    python tests/data/methods/make_mergekit.py
"""

import itertools
import math

import numpy as np
# noqa: F401
from make_methods import (BASE, DTYPES, HERE, make_inputs, random_digits, random_key, random_u8,
                          random_u32, text_of)

SHAPES = {"scalar": (), "0x3": (0, 3), "1": (1,), "7": (7,), "11x5": (11, 5),
          "2x3x2x3": (2, 3, 2, 3)}
LARGE = "59x70"
F64 = np.float64


def wide(arrays):
    return [a.astype(F64) for a in arrays]


# ---- combinations -------------------------------------------------------------------------------
def linear(base, models, shape, weight, normalize=1):
    total = sum(w * m for w, m in zip(weight, wide(models)))
    return total / sum(weight) if normalize else total


def passthrough(base, models, shape, scale=(1.0,)):
    return models[0].astype(F64) * scale[0]


def nearswap(base, models, shape, t):
    b, x = base.astype(F64), models[0].astype(F64)
    distance = np.abs(base - models[0]).astype(F64)
    w = np.clip(t / np.where(distance < 1e-6, 1e-6, distance), 0, 1)
    return w * x + (1 - w) * b


def arc(a, b, t, zero, one, straight):
    """Along the arc between two vectors; lengths below `zero` count as `one`."""
    na, nb = np.linalg.norm(a), np.linalg.norm(b)
    c = np.clip(a @ b / ((na if na > zero else one) * (nb if nb > zero else one)), -1, 1)
    if straight(c):
        return (1 - t) * a + t * b
    angle = np.arccos(c)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def slerp(base, models, shape, t):
    return arc(base.astype(F64), models[0].astype(F64), t, 1e-8, 1.0, lambda c: abs(c) > 0.9995)


def tasks_of(base, models):
    return [m - base if base is not None else m for m in models]


def vectors(shape, flatten, columns):
    """Index arrays of the vectors that are treated one by one."""
    index = np.arange(int(np.prod(shape, dtype=int)))
    if flatten or len(shape) < 2:
        return [index]
    if columns:
        return list(index.reshape(shape[0], -1).T) if index.size else []
    return list(index.reshape(-1, shape[-1])) if index.size else []


def nuslerp(base, models, shape, weight, nuslerp_flatten=1, nuslerp_row_wise=0):
    a, b = wide(tasks_of(base, models))
    t = 0.5 if abs(sum(weight)) < 1e-6 else weight[1] / sum(weight)
    out = np.zeros(a.size)
    for v in vectors(shape, nuslerp_flatten, nuslerp_row_wise):
        out[v] = arc(a[v], b[v], t, 1e-7, 1e-7, lambda c: 1 - c * c <= 1e-16)
    return out + (base.astype(F64) if base is not None else 0)


def multislerp(base, models, shape, weight, normalize_weights=1, eps=1e-8):
    if len(models) == 1:
        return models[0]
    x = np.stack(wide(tasks_of(base, models)))
    w = np.array(weight) / (sum(weight) if normalize_weights else 1)
    n = np.linalg.norm(x, axis=1)
    u = x / (n + eps)[:, None]
    mean = w @ u
    length = np.linalg.norm(mean)
    if length < eps:
        assert len(models) == 2 or (n < eps).all()
        y = w @ x
    else:
        mean /= length
        step = w @ (u - (u @ mean)[:, None] * mean)
        angle = np.linalg.norm(step) + eps
        y = (mean * np.cos(angle) + step * (np.sin(angle) / angle)) * (n @ w)
    return y + (base.astype(F64) if base is not None else 0)


def karcher(base, models, shape, max_iter=10, tol=1e-5):
    if len(models) == 1:
        return models[0]
    x = np.stack(wide(models))
    n = np.linalg.norm(x, axis=1)
    valid = n > tol
    if not valid.any():
        return np.zeros(x.shape[1])
    u = x[valid] / n[valid][:, None]
    a = 1 / valid.sum()
    m = (a * u).sum(0)
    length = np.linalg.norm(m)
    m = m / length if length >= tol else u[0]
    for _ in range(max_iter):
        step = np.zeros_like(m)
        for one in u:
            c = np.clip(m @ one, -1, 1)
            angle = np.arccos(c)
            if angle >= tol and c >= -1 + 1e-12:  # to the opposite point there is no direction
                step += a * angle / np.sin(angle) * (one - c * m)
        length = np.linalg.norm(step)
        if length < tol:
            break
        m = np.cos(length) * m + np.sin(length) / length * step
        m /= np.linalg.norm(m)
    return m * n.mean()


def model_stock(base, models, shape, filter_wise=0):
    x = np.stack(wide(tasks_of(base, models)))
    out = np.zeros(base.size)
    n = len(models)
    for v in vectors(shape, not filter_wise, False):
        norms = np.linalg.norm(x[:, v], axis=1)
        cosines = [np.clip(x[i, v] @ x[j, v] / max(norms[i] * norms[j], 1e-6), -1, 1)
                   for i, j in itertools.combinations(range(n), 2)]
        c = np.mean(cosines)
        t = 0 if abs(1 + (n - 1) * c) < 1e-6 else n * c / (1 + (n - 1) * c)
        out[v] = t * x[:, v].mean(0)
    return base + out


# ---- task vectors -------------------------------------------------------------------------------
def ranks_of(keys):
    """The rank of each element; of equal keys the lower index is the larger."""
    order = np.lexsort((-np.arange(keys.size), keys))
    ranks = np.empty(keys.size, int)
    ranks[order] = np.arange(keys.size)
    return ranks


def magnitudes(task):
    return np.where(np.isnan(task), np.inf, np.abs(task)) if np.isnan(task).any() else np.abs(task)


def keep_magnitude(task, density, **_):
    return ranks_of(magnitudes(task)) >= task.size - max(1, int(density * task.size))


def keep_outliers(task, density, gamma, **_):
    n = task.size
    kept, top = int(density * n), int(gamma * n)
    bottom = max(0, n - kept - top)
    ranks = ranks_of(magnitudes(task))
    return (ranks >= bottom) & (ranks < bottom + kept)


def keep_random(task, density, key, model, **_):
    return random_digits(key, model, np.arange(task.size, dtype=np.int64)) >= round((1 - density)
            * 2.0**16)


def keep_ranked(task, density, epsilon, key, model, shape, **_):
    """8 bits decide, or leave an element open: then 32 bits decide, or choose what to compare."""
    row = shape[-1] if shape else 1
    numbers = random_u8(key, model, np.arange(task.size, dtype=np.int64))
    low, high = ((density + sign * abs(epsilon) * (row > 1)) * 256 for sign in (-1, 1))
    first, end = math.floor(low), math.ceil(high)
    low, high = (min(int((limit - first) / max(end - first, 1) * 2.0**32), 2**32 - 1)
                 for limit in (low, high))
    factor, exponent = math.frexp((row - 1) / (high - low) if high > low else 0.0)
    factor = int(factor * 2.0**32)
    keep = numbers < first
    for start in range(0, task.size, row):
        ranks = np.empty(row, int)
        ranks[np.argsort(np.abs(task[start:start + row]), kind="stable")] = np.arange(row)
        number = numbers[start:start + row]
        drawing = np.flatnonzero((first <= number) & (number < end))
        draws = random_u32(key, model, start + np.arange(drawing.size, dtype=np.int64))
        for element, draw in zip(drawing, map(int, draws)):
            if low <= draw < high:
                others = np.delete(np.arange(row), element)
                other = others[(draw - low) * factor >> 32 - exponent]
                keep[start + element] = (ranks[other] < ranks[element]) != (epsilon < 0)
            else:
                keep[start + element] = draw < low
    return keep


def task_method(keep, consensus, normalize, rescale):
    def method(base, models, shape, weight, density=None, gamma=None, epsilon=None,
               normalize=normalize, rescale=rescale,
               key=0, **options):
        real = base.dtype.type
        n = len(models)
        density, gamma, epsilon = density or [1.0] * n, gamma or [0.01] * n, epsilon or [0.15] * n
        parts = []
        for m, model in enumerate(models):
            task = model - base
            if keep and density[m] <= 0:
                task = np.zeros_like(task)
            elif keep and density[m] < 1:
                kept = np.where(keep(task, density=density[m], gamma=gamma[m], epsilon=epsilon[m],
                                     key=key, model=m, shape=shape),
                                task, real(0))
                before, after = np.abs(task.astype(F64)).sum(), np.abs(kept.astype(F64)).sum()
                scale = before / after if rescale and before >= 1e-7 and after >= 1e-7 else 1.0
                task = kept * real(scale)
            parts.append(task * real(weight[m]))
        total = np.zeros_like(base) + parts[0]
        for p in parts[1:]:
            total = total + p
        merged, divisor = total.astype(F64), np.full(base.size, sum(weight))
        if consensus:
            agree = [np.where(total >= 0, p > 0, p < 0) for p in parts]
            merged = sum(np.where(a, p, 0).astype(F64) for a, p in zip(agree, parts))
            divisor = sum(np.where(a, w, 0.0) for a, w in zip(agree, weight))
            divisor = np.where(divisor == 0, 1, divisor)
        elif abs(sum(weight)) < 1e-8:
            divisor = 1
        if normalize:
            merged = merged / divisor
        merged = np.where(np.isnan(total), np.nan, merged)
        return base + merged * options.get("lambda", 1.0)

    return method


def sce(base, models, shape, select_topk=1.0):
    tasks = np.stack(tasks_of(base, models))
    if select_topk < 1:
        variance = np.var(tasks.astype(F64), axis=0).astype(base.dtype)
        count = int(np.float32((variance != 0).sum()) * np.float32(select_topk))
        if count <= 0:
            return base
        tasks = np.where(ranks_of(variance) >= base.size - count, tasks, base.dtype.type(0))
    total = np.zeros_like(base)
    for t in tasks:
        total = total + t
    agree = np.where(total >= 0, tasks > 0, tasks < 0)
    weights = (tasks.astype(F64) ** 2).mean(1) if base.size else np.ones(len(models))
    weights = np.full(len(models),
                      1 / len(models)) if abs(weights.sum()) < 1e-6 else weights / weights.sum()
    merged = (np.where(agree, tasks, 0).astype(F64) * weights[:, None]).sum(0)
    return base + merged / np.maximum((agree * weights[:, None]).sum(0), 1e-6)


def ram(base, models, shape, epsilon=1e-5, r=0.0, alpha=0.0):
    tasks = np.stack(tasks_of(base, models))
    changes = np.abs(tasks) > base.dtype.type(epsilon)
    count = changes.sum(0)
    out = base.astype(F64)
    for task, change in zip(tasks.astype(F64), changes):
        own, shared = (change & (count == 1)).sum(), (change & (count > 1)).sum()
        factor = 1 + r * np.clip(shared / max(own, epsilon), 0, alpha)
        out = out + np.where(change,
                             np.where(count == 1, task * factor, task / np.maximum(count, 1)), 0)
    return out


def ramplus_tl(base, models, shape, epsilon=1e-5, r=0.1, alpha=0.2):
    return ram(base, models, shape, epsilon, r, alpha)


def arcee_fusion(base, models, shape):
    real = base.dtype.type
    x = models[0]
    if x.size == 0:
        return base

    def softmax(a):
        rows = a.astype(F64).reshape(-1, shape[-1] if shape else 1)
        e = np.exp(rows - rows.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True) + 1e-8

    p, q = softmax(x), softmax(base)
    divergence = np.maximum((p * np.log(p / q)).sum(1), 0)
    score = np.abs(x - base) * np.repeat(divergence.astype(real), p.shape[1])
    ordered = np.sort(score)
    median, low, high = (ordered[int(f * (score.size - 1))] for f in (0.5, 0.25, 0.75))
    threshold = median + real(1.5) * (high - low)
    return base + np.where(score >= threshold, x - base, real(0)).astype(F64)


# ---- the cases ----------------------------------------------------------------------------------
def weights(n):
    return [round(0.3 + 0.2 * i, 2) for i in range(n)]


def signed(n):
    return [round((-1) ** i * 0.5 + 0.2 * (i == 0), 2) for i in range(n)]


def spread(n, low, high):
    return [round(low + (high - low) * i / max(n - 1, 1), 3) for i in range(n)]


def with_weight(*settings):
    return lambda n: [{"weight": w(n), **{k: v(n) if callable(v) else v for k, v in s.items()}}
                      for s, w in zip(settings, itertools.cycle([weights, weights, signed]))]


def fixed(*settings):
    return lambda n: list(settings)


def density(low, high):
    return lambda n: spread(n, low, high)


TIES = ({}, {"density": density(0.2, 0.7)}, {"density": density(0.5, 0.9), "normalize": 0},
        {"density": density(0.3, 1.2), "rescale": 1, "lambda": 0.7}, {"density": density(0, 0.6)})
CRUMBS = ({}, {"density": density(0.6, 0.9), "gamma": density(0.05, 0.1)},
          {"density": density(0.4, 0.5), "normalize": 1},
          {"density": density(0.9, 0.9), "gamma": density(0.2, 0.2), "rescale": 1, "lambda": 1.3},
          {"density": density(0.5, 0.6), "gamma": density(0, 0)})
DARE = ({}, {"density": density(0.5, 0.8)}, {"density": density(0.3, 0.6), "normalize": 1},
        {"density": density(0.4, 1.0), "rescale": 0, "lambda": 0.6}, {"density": density(0, 0.7)})
DELLA = ({}, {"density": density(0.5, 0.6)},
         {"density": density(0.4, 0.6), "epsilon": density(0.2, 0.3)},
         {"density": density(0.5, 0.7), "rescale": 0, "lambda": 0.6, "normalize": 0},
         {"density": lambda n: [0.0] + [0.5] * (n - 1), "epsilon": density(0.1, -0.2)})
MANY = tuple(range(1, 9))

# method: (function, numbers of models, settings for n models, may hold NaN and infinities, of a
# base: no, yes or both)
METHODS = {
    "linear": (linear, MANY, with_weight({}, {"normalize": 0}, {}, {}), True, "no"),
    "passthrough": (passthrough, (1,), fixed({}, {"scale": [0.5]}, {"scale": [-2.0]}, {}, {},
                                             *[{"scale": [x / 8]} for x in range(12)]), True, "no"),
    "nearswap": (nearswap, (1,),
                 fixed(*[{"t": t} for t in (0.001, 0.01, 0.02, 0.05, 0.1, 0.5, 0, -1, 2, 0.03, 0.04,
                                            0.06, 0.07, 0.08, 0.09, 0.2, 0.3)]), True, "yes"),
    "slerp": (slerp, (1,),
              fixed(*[{"t": t} for t in (0, 0.1, 0.25, 0.5, 0.75, 1, -0.5, 1.5, 0.3, 0.6, 0.7, 0.8,
                                         0.9, 0.2, 0.4, 0.15, 0.35)]), False, "yes"),
    "nuslerp": (nuslerp, (2,),
                with_weight({}, {"nuslerp_flatten": 0},
                            {"nuslerp_flatten": 0, "nuslerp_row_wise": 1}, {"nuslerp_row_wise": 1},
                            {}, {"nuslerp_flatten": 0},
                                           {"nuslerp_flatten": 0, "nuslerp_row_wise": 1}, {},
                            {"nuslerp_flatten": 0}), False, "both"),
    "multislerp": (multislerp, MANY, with_weight({}, {"normalize_weights": 0}, {"eps": 1e-6}),
                   False, "both"),
    "karcher": (karcher, MANY, fixed({}, {"max_iter": 1}, {"max_iter": 50, "tol": 1e-9},
                                     {"max_iter": 0}), False, "no"),
    "model_stock": (model_stock, MANY[1:], fixed({}, {"filter_wise": 1}, {}, {"filter_wise": 1},
                                                 {}), False, "yes"),
    "task_arithmetic": (task_method(None, False, 0, 0), MANY,
                        with_weight({}, {"lambda": 0.5}, {"normalize": 1},
                                    {"normalize": 1, "lambda": -1}), True, "yes"),
    "ties": (task_method(keep_magnitude, True, 1, 0), MANY, with_weight(*TIES), False, "yes"),
    "breadcrumbs": (task_method(keep_outliers, False, 0, 0), MANY, with_weight(*CRUMBS), False,
                    "yes"),
    "breadcrumbs_ties": (task_method(keep_outliers, True, 0, 0), MANY, with_weight(*CRUMBS), False,
                         "yes"),
    "dare_linear": (task_method(keep_random, False, 0, 1), MANY, with_weight(*DARE), False, "yes"),
    "dare_ties": (task_method(keep_random, True, 0, 1), MANY, with_weight(*DARE), False, "yes"),
    "della": (task_method(keep_ranked, True, 1, 1), MANY, with_weight(*DELLA), False, "yes"),
    "della_linear": (task_method(keep_ranked, False, 0, 1), MANY, with_weight(*DELLA), False,
                     "yes"),
    "sce": (sce, MANY, fixed({}, {"select_topk": 0.5}, {"select_topk": 0.1}, {"select_topk": 0}),
            False, "yes"),
    "ram": (ram, MANY, fixed({}, {"epsilon": 0.01}, {"epsilon": 0.05}, {"epsilon": 0}), False,
            "yes"),
    "ramplus_tl": (ramplus_tl, MANY,
                   fixed({}, {"epsilon": 0.03}, {"epsilon": 0.05, "r": 0.5, "alpha": 1.5},
                         {"r": 0.3}), False, "yes"),
    "arcee_fusion": (arcee_fusion, (1,), fixed(*[{}] * 20), False, "yes"),
}


def cases_of(counts, settings, special, based):
    """Every setting with every shape; dtypes and kinds take turns."""
    dtypes, kinds = itertools.cycle(DTYPES), itertools.cycle(("plain", "zeros", "special")
                                                             if special else ("plain", "zeros"))
    bases = {"no": (False,), "yes": (True,), "both": (False, True)}[based]
    for count, base in itertools.product(counts, bases):
        for setting in settings(count):
            dtype, kind = next(dtypes), next(kinds)
            for shape in SHAPES:
                yield dtype, count, shape, kind, base, setting
    largest = counts[min(1, len(counts) - 1)]
    for base in bases[:1]:
        yield "F32", largest, LARGE, "plain", base, settings(largest)[min(1,
                len(settings(largest)) - 1)]


def ill_conditioned(function, base, models, dims, setting, expected):
    """Whether rounding errors of inputs and weights change the result as much as the test allows:
    where directions cancel, the quotient of model_stock and multislerp is theirs."""
    epsilon, tolerance = (2.0**-53, 1e-14) if expected.dtype == F64 else (2.0**-24, 2e-6)
    random = np.random.default_rng(0)
    wide_base = None if base is None else base.astype(F64)
    largest = max((np.abs(a).max(initial=0) for a in [*models, *([] if base is None else [base])]),
                  default=0)
    if np.abs(expected).max(initial=0) > 4 * largest:  # the tolerance is relative to the inputs
        return True
    for _ in range(4):
        nudged = [m.astype(F64) * (1 + epsilon * random.standard_normal(m.size)) for m in models]
        if "weight" in setting:
            setting = {**setting,
                       "weight": [w * (1 + epsilon * random.standard_normal())
                                  for w in setting["weight"]]}
        found = function(wide_base, nudged, dims, **setting)
        if np.abs(found - expected).max(initial=0) > largest * tolerance / 4:
            return True
    return False


def write(method):
    function, counts, settings, special, based = METHODS[method]
    lines, values, offset, left_out = [], [], 0, 0
    for seed, (dtype, count, shape, kind, with_base,
               setting) in enumerate(cases_of(counts, settings, special, based)):
        dims = {**SHAPES, LARGE: (59, 70)}[shape]
        base, *models = make_inputs(seed, kind, count, int(np.prod(dims, dtype=int)), dtype)
        extra = {"key": random_key(seed, "layer")} if method.startswith(("dare", "della")) else {}
        with np.errstate(all="ignore"):
            expected = function(base if with_base else None, models, dims, **setting,
                                **extra).astype(base.dtype)
            if method in ("model_stock", "multislerp") and ill_conditioned(
                    function, base if with_base else None, models, dims, setting, expected):
                left_out += 1
                continue
        if based == "both" and with_base:
            kind += "+base"
        line = f"{seed} {dtype} {count} {shape} {kind} 0 {offset} {text_of(setting)}"
        lines.append(line.rstrip())
        values.append(expected.tobytes())
        offset += expected.nbytes
    folder = HERE / "mergekit"
    folder.mkdir(exist_ok=True)
    (folder / f"{method}.txt").write_text("\n".join(lines) + "\n")
    (folder / f"{method}.bin").write_bytes(b"".join(values))
    print(f"{method}: {len(lines)} cases, {offset} bytes; {left_out} left out")


if __name__ == "__main__":
    for name in METHODS:
        write(name)
