"""Writes the golden results of the merge methods: mergecraft/METHOD.txt, one case per line, and
mergecraft/METHOD.bin, the expected values.

Needs numpy, ml_dtypes and torch. The inputs are not stored: they are made of integer hashes, here
and in tests/methods/golden.c in the same way. The methods are written down here a second time, with
whole arrays, from their definitions. Discontinuous choices (what is kept, which sign wins) are made
in the layer's type, float32 or float64; everything smooth is computed in float64.

    python tests/data/methods/make_methods.py [METHOD...]
"""

import itertools
import pathlib
import sys

import ml_dtypes
import numpy as np
import research
import torch

HERE = pathlib.Path(__file__).parent
MOST_CASES = 190  # keeps the files of a method below 60 kB
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64}
SHAPES = {"scalar": (), "0x3": (0, 3), "1": (1,), "7": (7,), "11x5": (11, 5),
          "2x3x3x3": (2, 3, 3, 3), "4113": (4096 + 17,), "33x5": (33, 5), "5x33": (5, 33)}
MATRICES = ("33x5", "5x33")  # of methods that work on whole tensors
BASE = 255


@np.errstate(over="ignore")
def mix(x):
    x = np.asarray(x, np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def field(u, shift, mask):
    return (u >> np.uint64(shift)).astype(np.uint64) & np.uint64(mask)


def random_values(seed, model, size):
    """Numbers of several magnitudes, exact in float32."""
    u = mix(np.arange(size, dtype=np.uint64)
            + np.uint64((seed << 48) + (model << 40) + 0x9E3779B97F4A7C15))
    fraction = field(u, 40, 0xFFFFFF).astype(np.float64) / 2**23 - 1
    return u, fraction * 2.0 ** -field(u, 1, 7).astype(np.float64)


def sprinkle(u, values, kind):
    if kind != "plain":
        zero = np.where(field(u, 12, 1) == 1, -0.0, 0.0)
        values = np.where(field(u, 4, 3) == 0, zero, values)
    if kind == "special":
        chance = field(u, 20, 31)
        for number, special in enumerate((np.nan, np.inf, -np.inf)):
            values = np.where(chance == number, special, values)
    return values


def make_inputs(seed, kind, count, size, dtype):
    """base and models in the type that layers of the dtype are computed in."""
    u, plain_base = random_values(seed, BASE, size)
    base = sprinkle(u, plain_base, kind)
    models = []
    for m in range(count):
        u, delta = random_values(seed, m, size)
        values = plain_base + delta / 8
        if kind != "plain":
            values = np.where(field(u, 6, 3) == 0, plain_base, values)
        models.append(sprinkle(u, values, kind))
    real = np.float64 if dtype == "F64" else np.float32
    with np.errstate(over="ignore"):
        return [x.astype(DTYPES[dtype]).astype(real) for x in [base] + models]


# ---- the generator ------------------------------------------------------------------------------
def philox(key, stream, counter, last=0):
    c = [counter & 0xFFFFFFFF, counter >> 32, np.full_like(counter, stream),
         np.full_like(counter, last)]
    c = [x.astype(np.uint64) for x in c]
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low,
             (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def random_u32(key, stream, elements):
    return np.choose(elements % 4, philox(key, stream, elements // 4))


def random_u8(key, stream, elements):
    o = elements % 512
    words = np.choose(o // 128, philox(key, stream, elements // 512 * 32 + o // 4 % 32, 17))
    return (words.astype(np.int64) >> 8 * (o % 4)) & 0xFF


def random_digits(key, stream, elements):
    """The numbers that mc_random_bernoulli compares with its threshold, from their digits."""
    o = elements % 4096
    number = np.zeros_like(elements)
    for digit in range(16):
        words = philox(key, stream, elements // 4096 * 32 + o // 32 % 32, digit + 1)
        number |= (np.choose(o // 1024, words).astype(np.int64) >> o % 32 & 1) << digit
    return number


def random_key(seed, name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    start = int(mix((seed + 0x9E3779B97F4A7C15) % 2**64))
    return int(mix(start ^ h))


# ---- the methods --------------------------------------------------------------------------------
def median(base, models):
    values = torch.median(torch.stack([torch.from_numpy(m) for m in models]), 0).values.numpy()
    negative = sum(np.signbit(m).astype(int) for m in models)
    zeros = np.stack(models) == 0
    mixed = (zeros & np.signbit(models)).any(0) & (zeros & ~np.signbit(models)).any(0)
    ours = np.where(negative > (len(models) - 1) // 2, -0.0, 0.0).astype(values.dtype)
    ours = np.where(values == 0, ours, values)
    same = np.signbit(ours) == np.signbit(values)
    # torch is only left where its result depends on the order
    assert (same | mixed | np.isnan(values)).all()
    return ours


def greedy_soup(base, models, weights):
    members = [m.astype(np.float64) for m, w in zip(models, weights) if w > 0]
    return sum(m / len(members) for m in members)


def soup(base, models, weights=None):
    weights = weights or [1.0] * len(models)
    return sum(np.float64(w) * m.astype(np.float64) for w, m in zip(weights, models)) / sum(weights)


def task(base, models, signs=None, scale=1.0, weights=None, scaling="mean"):
    signs, weights = signs or [1] * len(models), weights or [1] * len(models)
    wide = base.astype(np.float64)
    total = sum(s * w * (m - wide) for s, w, m in zip(signs, weights, models))
    return wide + scale * total / (sum(weights) if scaling == "mean" else 1)


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / size if size != 0 else 0.0


def slerp(base, models, tau=0.5):
    a, b = (m.astype(np.float64) for m in models)
    c = cosine(a, b)
    first, second = 1 - tau, tau
    if np.float32(1e-7) < np.float32(c) < np.float32(1 - 1e-7):
        angle = np.arccos(c)
        first, second = np.sin(first * angle) / np.sin(angle), np.sin(second
                * angle) / np.sin(angle)
    return first * a + second * b


def stock(base, models, weights=None):
    shares = weights or [1] * len(models)
    mean = sum(w * m.astype(np.float64) for w, m in zip(shares, models)) / sum(shares)
    n = len(models)
    c = np.clip(cosine(mean, base), 0, 1)
    t = n * c / (1 + (n - 1) * c)
    return t * mean + (1 - t) * base.astype(np.float64)


def max_magnitude(base, models, scale=1.0):
    tasks = np.stack(models) - base
    chosen = np.argmax(np.abs(tasks), 0)  # the first, and NaN before everything
    return base + base.dtype.type(scale) * np.take_along_axis(tasks, chosen[None], 0)[0]


def threshold(magnitudes, k):
    ordered = np.sort(magnitudes.ravel())
    ordered = np.where(np.isnan(ordered), np.inf, ordered).astype(np.float64)
    place = (len(ordered) - 1) * (1 - k)
    low = int(np.floor(place))
    fraction = place - low
    if fraction == 0 or ordered[low] == ordered[low + 1]:
        return magnitudes.dtype.type(ordered[low])
    return magnitudes.dtype.type(ordered[low] + (ordered[low + 1] - ordered[low]) * fraction)


def threshold_of_paper(magnitudes, k):
    """What is not below the (d - int(d k))-th smallest of d magnitudes is kept."""
    ordered = np.sort(np.where(np.isnan(magnitudes), np.inf, magnitudes).ravel())
    kept = int(len(ordered) * k)
    return ordered[max(len(ordered) - kept - 1, 0)]


def ties(base, models, k=0.1, weights=None, trim="layer", scale=1.0):
    weights = np.asarray(weights or [1] * len(models), base.dtype).reshape((-1,) + (1,) * base.ndim)
    tasks = np.stack(models) - base
    if tasks.size == 0:
        return base
    sizes = np.abs(tasks)
    limits = [threshold_of_paper(size, k) for size in sizes] if trim == "model" \
        else [threshold(sizes, k)]
    limits = np.reshape(limits, (-1,) + (1,) * base.ndim)
    kept = np.where(sizes < limits, 0, tasks).astype(base.dtype)
    total = np.add.reduce(list(weights * kept))
    agree = np.sign(kept) * np.sign(total) > 0
    votes = np.where(agree, weights, 0).astype(np.float64).sum(0)
    mean = np.where(agree, weights * kept.astype(np.float64), 0).sum(0) / np.where(votes, votes, 1)
    return np.where(np.isnan(total), np.nan, base + scale * mean)


def trimmed_mean(base, models, trim=0.2, weights=None):
    dropped = int(np.floor(trim * len(models)))
    values = np.stack(models).astype(np.float64)
    order = np.argsort(values, axis=0, kind="stable")[dropped:len(models) - dropped]
    mass = np.asarray(weights or [1] * len(models), np.float64)[order]
    with np.errstate(invalid="ignore"):
        mean = (np.take_along_axis(values, order, 0) * mass).sum(axis=0) / mass.sum(axis=0)
    return np.where(np.isnan(models).any(axis=0), np.nan, mean)


def dare(base, models, p=0.5, average="survivors", weights=None, key=0):
    weights = weights or [1] * len(models)
    elements = np.arange(base.size, dtype=np.int64)
    limit = round(p * 2.0**16)
    kept = 1 - limit / 2.0**16
    total = np.zeros(base.size, np.float64)
    survivors = np.zeros(base.size, np.float64)
    for m, model in enumerate(models):
        keep = random_digits(key, m, elements) >= limit
        survivors += weights[m] * keep
        total += np.where(keep, weights[m] * (model - base).astype(np.float64) / (kept or 1), 0)
    divisor = sum(weights) if average == "models" else np.where(survivors > 0, survivors, 1)
    return np.where(survivors > 0, base + total / divisor, base)


# ---- the cases ----------------------------------------------------------------------------------
def weights_of(n):
    return [[0.5 * i + 0.25 for i in range(n)], [(-1.0) ** i + 1.5 for i in range(n)]]


def signs_of(n):
    return [[(-1) ** i for i in range(n)]]


def shares_of(n):
    """Weights that may be summed in part: none is negative."""
    return [[0.5 * i + 0.25 for i in range(n)]]


# method: (function, needs exact equality, model counts, what parameters are tried for n models)
METHODS = {
    "median": (median, True, (1, 2, 3, 4, 5, 6, 7, 8, 9, 11), lambda n: [{}]),
    "greedy_soup": (greedy_soup, False, (1, 2, 3, 5, 8),
                    lambda n: [{"weights": [1] * n}, {"weights": [1] + [0] * (n - 1)},
                               {"weights": [int(i % 2 == 0) for i in range(n)]}]),
    "soup": (soup, False, (1, 2, 3, 5, 8),
             lambda n: [{}] + [{"weights": w} for w in weights_of(n)]),
    "task": (task, False, (1, 2, 3, 5, 8),
             lambda n: [{}, {"scale": -0.7}] + [{"signs": s, "scale": 2} for s in signs_of(n)] +
             [{"scaling": "sum", "scale": 0.4}] +
             [{"weights": w, "scaling": m} for w in weights_of(n) for m in ("mean", "sum")]),
    "slerp": (slerp, False, (2,), lambda n: [{}] + [{"tau": t} for t in (0, 0.3, 1)]),
    "stock": (stock, False, (1, 2, 3, 5, 8),
              lambda n: [{}] + [{"weights": w} for w in shares_of(n)]),
    "max_magnitude": (max_magnitude, True, (1, 2, 3, 5, 8), lambda n: [{}, {"scale": 0.3}]),
    "ties": (ties, False, (1, 2, 3, 5, 8),
             lambda n: [{}] + [{"k": k} for k in (0, 0.37, 0.8, 1)] +
             [{"k": 0.5, "weights": w} for w in shares_of(n)] +
             [{"k": k, "trim": "model", "scale": 0.4} for k in (0.2, 1)]),
    "dare": (dare, False, (1, 2, 3, 5, 8),
             lambda n: [{}, {"p": 0}, {"p": 1}, {"p": 0.8, "average": "models"}] +
             [{"weights": w, "average": a} for w in shares_of(n) for a in ("survivors", "models")]),
    "trimmed_mean": (trimmed_mean, False, (1, 2, 3, 5, 8, 11),
                     lambda n: [{}] + [{"trim": t} for t in (0, 0.34, 0.49)] +
                     [{"weights": w, "trim": t} for w in shares_of(n) for t in (0.2, 0.4)]),
}


# Methods on whole tensors. Their results depend on every element, so a few cases of each shape do;
# NaN is an error where matrices are decomposed (tests/methods/special.c).
RESEARCH = {
    "iso_c": (research.iso_c, False, (1, 3), lambda n: [{}, {"alpha": 0.3}]),
    "iso_cts": (research.iso_cts, False, (1, 3), lambda n: [{}, {"common": 0.2}]),
    "tsvm": (research.tsvm, False, (1, 3),
             lambda n: [{}, {"weights": weights_of(n)[0], "alpha": 2}, {"rank": 0.7}]),
    "cart": (research.cart, False, (1, 3),
             lambda n: [{}, {"rank": 0.5, "scale": 1}, {"rank": 0.3, "weights": shares_of(n)[0]}]),
    "wudi": (research.wudi, False, (2, 3), lambda n: [{"iterations": 20}, {"lr": 1e-3}]),
    "magmax": (research.magmax, False, (1, 2, 4), lambda n: [{}, {"scale": 1}]),
    "consensus": (research.consensus, False, (1, 2, 4), lambda n: [{}, {"lam": 0.6, "k": 1}]),
    "cabs": (research.cabs, False, (1, 3),
             lambda n: [{"weights": weights_of(n)[0], "n": 2, "m": 5},
                        {"weights": weights_of(n)[0], "prune": "magnitude", "sparsity": 0.6}]),
    "breadcrumbs": (research.breadcrumbs, False, (1, 2, 4),
                    lambda n: [{}, {"keep": 0.5, "remove": 0.15, "alpha": 0.4}]),
    "metagpt": (research.metagpt, False, (1, 2, 3, 5, 8), lambda n: [{}]),
    "localize_stitch": (research.localize_stitch, False, (1, 3),
                        lambda n: [{"keep": 0.3}, {"keep": 0.7, "tensors": "all"}]),
    "emr": (research.emr, False, (1, 3), lambda n: [{}, {"task": n}]),
    "pcb": (research.pcb, False, (1, 3),
            lambda n: [{}, {"ratio": 0.4, "clip": 0.1}, {"ratio": 0.3, "inter": "normalised"}]),
    "opcm": (research.opcm, False, (1, 3), lambda n: [{}, {"alpha": 0.2}]),
    "knots": (research.knots, False, (1, 3),
              lambda n: [{}, {"mode": "linear", "aggregate": "sum", "topk": 60},
                         {"topk": 100, "mode": "tv", "scale": 1}]),
    "lines": (research.lines, False, (1, 3), lambda n: [{}, {"alpha": 0.2, "beta": 0.8}]),
    "boost": (research.boost, False, (1, 3), lambda n: [{}, {"beta": 0.3, "alpha": 2}]),
    "svc": (research.svc, False, (1, 3), lambda n: [{}, {"alpha": 1}]),
}
DECOMPOSING = {"iso_c", "iso_cts", "tsvm", "cart", "wudi", "opcm", "knots", "boost", "svc"}
# Norms over the whole model, or errors where there is NaN.
FINITE = DECOMPOSING | {"metagpt", "localize_stitch", "emr", "pcb", "lines"}
METHODS |= RESEARCH


def research_cases(method, counts, params):
    shapes = ("0x3", "7") + MATRICES
    for dtype, count, shape in itertools.product(("F32", "F64"), counts, shapes):
        for kind in ("plain", "zeros") if method in FINITE else ("plain", "special"):
            for setting in params(count):
                yield dtype, count, shape, kind, setting


def all_cases(method, counts, params):
    shapes = [shape for shape in SHAPES if shape not in MATRICES]
    for dtype, count, shape, kind in itertools.product(DTYPES, counts, shapes,
                                                       ("plain", "zeros", "special")):
        if shape == "4113" and (count != 2 or dtype != "F32" or kind != "plain"):
            continue  # a layer of two leaves
        if kind == "special" and method in ("stock", "slerp"):
            continue  # one NaN decides over the whole layer: tests/methods/special.c
        for setting in params(count):
            yield dtype, count, shape, kind, setting


def cases_of(method, counts, params):
    """A fixed choice from all combinations; of the large shape one, with the last parameters."""
    if method in RESEARCH:
        return list(research_cases(method, counts, params))
    every = list(all_cases(method, counts, params))
    large = [case for case in every if case[2] == "4113"][-1:]
    small = [case for case in every if case[2] != "4113"]
    order = np.argsort(mix(np.arange(len(small), dtype=np.uint64) + np.uint64(1)), kind="stable")
    return [small[i] for i in sorted(order[:MOST_CASES])] + large


def text_of(setting):
    def value(v):
        return ",".join(map(repr, v)) if isinstance(v, list) else str(v)

    return " ".join(f"{name}={value(v)}" for name, v in setting.items())


def write(method):
    function, exact, counts, params = METHODS[method]
    lines, values, offset = [], [], 0
    for seed, (dtype, count, shape, kind, setting) in enumerate(cases_of(method, counts, params)):
        size = int(np.prod(SHAPES[shape], dtype=int))
        base, *models = make_inputs(seed, kind, count, size, dtype)
        if method in RESEARCH:  # these look at the shape
            base, *models = (values.reshape(SHAPES[shape]) for values in (base, *models))
        extra = {"key": random_key(seed, "layer")} if method == "dare" else {}
        with np.errstate(all="ignore"):
            expected = function(base, models, **setting, **extra).astype(base.dtype)
        check = 2 if method in DECOMPOSING else int(exact)
        line = f"{seed} {dtype} {count} {shape} {kind} {check} {offset} {text_of(setting)}"
        lines.append(line.rstrip())
        values.append(expected.tobytes())
        offset += expected.nbytes
    (HERE / "mergecraft" / f"{method}.txt").write_text("\n".join(lines) + "\n")
    (HERE / "mergecraft" / f"{method}.bin").write_bytes(b"".join(values))
    size = offset + len("\n".join(lines))
    assert size < 60000, size
    print(f"{method}: {len(lines)} cases, {size} bytes")


if __name__ == "__main__":
    for name in sys.argv[1:] or METHODS:
        write(name)
