"""References of the methods that see weights as matrices, and of their relatives, in numpy.

Written from the papers' definitions, with whole arrays in float64. Directions of singular values at
most max(m, n) · ε · s[0] are null, ε being float32's machine epsilon, or float64's for float64
layers: they contribute nothing.
"""
import numpy as np


def deltas(base, models):
    return [model.astype(np.float64) - base.astype(np.float64) for model in models]


def is_matrix(base):
    return base.ndim == 2


def mean_rule(base, models, alpha, weights=None):
    weighted = [w * d for w, d in zip(weights or [1] * len(models), deltas(base, models))]
    return base.astype(np.float64) + alpha * sum(weighted) / len(models)


def epsilon_of(dtype):
    return np.finfo(np.float64 if dtype == np.float64 else np.float32).eps


def svd(matrix, dtype, epsilon=None):
    """Singular triplets with null directions set to zero."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    epsilon = epsilon or epsilon_of(dtype)
    known = s > (max(matrix.shape) * epsilon * s[0] if len(s) else 0)
    return u * known, s * known, vt * known[:, None]


def polar(matrix, dtype):
    u, _, vt = svd(matrix, dtype)
    return u @ vt


def stack_polar(matrix, dtype):
    """Of singular vectors of several matrices, which have errors of their own."""
    u, _, vt = svd(matrix, dtype, max(epsilon_of(dtype), 2.0**-42))
    return u @ vt


def iso_c(base, models, alpha=1.0):
    if not is_matrix(base):
        return mean_rule(base, models, alpha)
    total = sum(deltas(base, models))
    s = np.linalg.svd(total, compute_uv=False)
    return base + alpha * (s.mean() if len(s) else 0) * polar(total, base.dtype)


def tsvm(base, models, alpha=1.0, weights=None, rank=0):
    smaller = min(base.shape) if is_matrix(base) else 0
    rank = int(smaller * rank) if rank > 0 else smaller // len(models)
    if rank == 0:
        return mean_rule(base, models, alpha, weights)
    parts = []
    for weight, delta in zip(weights or [1.0] * len(models), deltas(base, models)):
        u, s, vt = svd(delta, base.dtype)  # equal models must have equal directions
        parts.append((u[:, :rank], weight * s[:rank], vt[:rank]))
    u, s, vt = np.hstack([p[0] for p in parts]), np.hstack([p[1] for p in parts]), \
        np.vstack([p[2] for p in parts])
    return base + alpha * (stack_polar(u, base.dtype) * s) @ stack_polar(vt, base.dtype)


def iso_cts(base, models, alpha=1.0, common=0.8):
    if not is_matrix(base):
        return mean_rule(base, models, alpha)
    k, task_vectors = min(base.shape), deltas(base, models)
    own = round((k - int(k * common)) / len(models))
    while own * len(models) > k:
        own -= 1
    shared = k - own * len(models)
    u, s, vt = svd(sum(task_vectors), base.dtype)
    parts = []
    for delta in task_vectors:
        du, ds, dvt = svd(delta - u[:, :shared] @ (u[:, :shared].T @ delta), base.dtype)
        parts.append((du[:, :own], ds[:own], dvt[:own]))
    parts.append((u[:, :shared], s[:shared], vt[:shared]))
    u, s, vt = np.hstack([p[0] for p in parts]), np.hstack([p[1] for p in parts]), \
        np.vstack([p[2] for p in parts])
    mean = s.mean() if len(s) else 0
    return base + alpha * mean * stack_polar(u, base.dtype) @ stack_polar(vt, base.dtype)


def cart(base, models, rank=0.04, scale=1.6, weights=None):
    shares = np.asarray(weights or [1] * len(models), np.float64)
    shares /= shares.mean()
    mean = sum(w * model.astype(np.float64) for w, model in zip(shares, models)) / len(models)
    if not is_matrix(base) or rank == 0 or base.size == 0:
        return mean
    kept = max(1, int(rank * min(base.shape)))
    total = np.zeros(base.shape)
    for share, model in zip(shares, models):
        u, s, vt = np.linalg.svd(model.astype(np.float64) - mean, full_matrices=False)
        total += share * (u[:, :kept] * s[:kept]) @ vt[:kept]
    return mean + scale * total


def wudi(base, models, iterations=300, lr=1e-5, solver="adam"):
    if not is_matrix(base):
        return mean_rule(base, models, 1)
    used = [delta for delta in deltas(base, models) if np.any(delta)]
    x = sum(used, np.zeros(base.shape))
    q = sum((d.T @ d / np.sum(d * d) for d in used), np.zeros((base.shape[1],) * 2))
    r = sum((d @ (d.T @ d) / np.sum(d * d) for d in used), np.zeros(base.shape))
    if solver == "exact" and used:
        values, vectors = np.linalg.eigh(q)
        side = max(base.shape)
        limit = max((side * epsilon_of(base.dtype)) ** 2, side * epsilon_of(np.float64))
        known = values > limit * np.sqrt(len(q)) * np.diag(q).max()
        return base + r @ (vectors[:, known] / values[known]) @ vectors[:, known].T
    mean = square = np.zeros(base.shape)
    for step in range(1, iterations + 1):
        gradient = 2 * (x @ q - r)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient * gradient
        root = np.sqrt(square) / np.sqrt(1 - 0.999**step)
        x = x - lr / (1 - 0.9**step) * mean / (root + 1e-8)
    return base + x


def magmax(base, models, scale=0.5):
    """In the layer's type; of equal magnitudes the last model's."""
    tasks = np.stack([model - base for model in models])
    sizes = np.where(np.isnan(tasks), np.inf, np.abs(tasks))
    pick = len(models) - 1 - np.argmax(sizes[::-1], axis=0)
    value = np.take_along_axis(tasks, pick[None], axis=0)[0]
    value = np.where(np.isnan(tasks).any(axis=0), np.nan, value)
    return base + base.dtype.type(scale) * value


def consensus(base, models, lam=0.4, k=2, alpha=0.3):
    """In the layer's type: which models agree is decided by rounded differences of weights."""
    lams = lam if isinstance(lam, list) else [lam] * len(models)
    total = np.zeros(base.shape, base.dtype)
    for model in models:
        total = total + (model - base)
    agree = np.zeros(base.shape, int)
    for model, limit in zip(models, lams):
        far = np.abs(base + total - model) * base.dtype.type(limit)
        agree += np.abs(base - model) > far
    kept = (agree >= k) | np.isnan(total)
    return np.where(kept, base + base.dtype.type(alpha) * total, base)


def cabs(base, models, n=64, m=256, weights=None, prune="blocks", sparsity=0.75):
    """In the layer's type. Zeros are not picked; of equal magnitudes the first is."""
    out, used = base.reshape(-1).copy(), np.zeros(base.size, bool)
    flat = [model.reshape(-1) for model in models]
    for model, weight in zip(flat, weights):
        sizes = np.abs(model - base.reshape(-1))
        sizes[used | np.isnan(sizes)] = 0
        picked = np.zeros(base.size, bool)
        if prune == "magnitude" and base.size:
            picked = sizes > np.sort(sizes)[min(int(sparsity * base.size), base.size - 1)]
        for start in range(0, base.size - m + 1, m) if prune == "blocks" else ():
            order = np.argsort(-sizes[start:start + m], kind="stable")[:n]
            picked[start + order] = sizes[start + order] > 0
        change = base.dtype.type(weight) * (model - base.reshape(-1))
        out = np.where(picked, out + change, out)
        used |= picked
    nan = np.any([np.isnan(model) for model in flat], axis=0) if base.size else used
    return np.where(nan, np.nan, out).astype(base.dtype).reshape(base.shape)


def metagpt(base, models):
    tasks = deltas(base, models)
    squares = [np.sum(task * task) for task in tasks]
    total = sum(squares)
    return base + sum((s / total if total else 0) * task for s, task in zip(squares, tasks))


def localize_stitch(base, models, keep=0.05, tensors="blocks"):
    """In the layer's type; what is larger than the int(keep · size)-th largest magnitude is
    kept."""
    tasks = np.stack(models) - base
    wanted = int(keep * base.size)
    if wanted == 0:
        return base
    sizes = np.abs(tasks).reshape(len(models), -1)
    limits = np.sort(sizes, axis=1)[:, base.size - wanted].reshape((-1,) + (1,) * base.ndim)
    kept = np.abs(tasks) > limits
    total = np.where(kept, tasks, 0).astype(np.float64).sum(0)
    return base + total / np.maximum(kept.sum(0), 1)


def emr(base, models, task=0):
    """In the layer's type. A mean of zero counts as negative."""
    tasks = np.stack(models) - base
    sign = np.where(np.add.reduce(list(tasks)) > 0, 1, -1).astype(base.dtype)
    unified = sign * np.maximum(np.max(tasks * sign, axis=0), 0)
    if task == 0:
        return base + unified
    kept = tasks[task - 1] * unified > 0
    own = np.abs(tasks[task - 1].astype(np.float64)).sum()
    shared = np.abs(np.where(kept, unified, 0).astype(np.float64)).sum()
    return base + np.where(kept, (own / shared if shared else 1) * unified.astype(np.float64), 0)


def breadcrumbs(base, models, keep=0.15, remove=0.006, alpha=0.2):
    """In the layer's type, row by row; of equal magnitudes the first is the larger one."""
    if base.size == 0:
        return base
    row = base.shape[-1]
    first, count = int(row * remove), int(row * keep)
    total = np.zeros(base.shape, base.dtype).reshape(-1, row)
    for model in models:
        task = (model - base).reshape(-1, row)
        sizes = np.where(np.isnan(task), np.inf, np.abs(task))
        nan = np.isnan(task)
        # NaN is larger than infinity
        order = np.lexsort((np.broadcast_to(np.arange(row), sizes.shape), -sizes, ~nan), axis=1)
        for r in range(len(task)):
            picked = order[r, first:first + count]
            total[r, picked] += task[r, picked]
        total = np.where(np.isnan(model.reshape(-1, row)), np.nan, total).astype(base.dtype)
    return base + base.dtype.type(alpha) * total.reshape(base.shape)


def clamp_by_quantiles(x, low, high):
    ordered, size = np.sort(x, axis=1), x.shape[1]
    place = [min(max(int(p), 0), size - 1) for p in (size * low, size * (1 - high) - 1)]
    bounds = ordered[:, place]
    return np.minimum(np.maximum(x, bounds[:, :1]), bounds[:, 1:])


def from_0_to_1(x, constant):
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    span = high - low
    return np.where(span > 0, (x - low) / np.where(span > 0, span, 1), constant)


def pcb(base, models, ratio=0.1, scale=1.2, clip=1e-4, inter="raw"):
    """Scores are rounded to the layer's type, which decides what is below the quantile."""
    if base.size == 0:
        return base
    real = base.dtype.type
    tasks = (np.stack(models) - base).reshape(len(models), -1)
    wide = tasks.astype(np.float64)
    sizes = clamp_by_quantiles(np.abs(wide), clip, clip)
    share = from_0_to_1(sizes, 0)
    opinions = wide if inter == "raw" else np.sign(wide) * share
    scores = np.exp(len(models) * share**2) * np.tanh(wide * opinions.sum(0))
    scores = scores.astype(real).astype(np.float64)
    weights = from_0_to_1(clamp_by_quantiles(scores, 1 - ratio, 0), 1)
    weights *= sizes.max(axis=1, keepdims=True) > 0
    mean = (weights * np.sign(wide) * sizes).sum(0) / np.maximum(weights.sum(0), 1e-12)
    return base + scale * mean.reshape(base.shape)


def opcm(base, models, alpha=0.5):
    tasks = deltas(base, models)
    merged = tasks[0]
    for delta in tasks[1:]:
        if is_matrix(base) and base.size:
            u, s, vt = np.linalg.svd(merged, full_matrices=False)
            epsilon = np.finfo(np.float64 if base.dtype == np.float64 else np.float32).eps
            known = s > max(base.shape) * epsilon * s[0]
            share = np.cumsum(s) / (s.sum() or 1)
            top = int(np.argmax(share > alpha))
            inner = (u.T @ delta @ vt.T) * np.outer(known, known)
            mask = np.eye(len(s), dtype=bool)
            mask[:top, :top] = True
            delta = delta - u @ np.where(mask, inner, 0) @ vt
        merged = merged + delta
    norm = np.linalg.norm(merged)
    mean = np.mean([np.linalg.norm(task) for task in tasks])
    return base + merged * (mean / norm if norm else 0)


def knots(base, models, mode="ties", topk=20, scale=0.6, aggregate="mean"):
    if not is_matrix(base) or base.size == 0:
        return base
    u, s, vt = np.linalg.svd(np.hstack(deltas(base, models)), full_matrices=False)
    rank = int(np.sum(s > 1e-5))
    parts = (s[:rank, None] * vt[:rank]).reshape(rank, len(models), -1).transpose(1, 0, 2)
    sizes = np.abs(parts).astype(base.dtype)
    if topk < 100 and rank:
        count = sizes[0].size
        limits = np.sort(sizes.reshape(len(models), -1), axis=1)[:, count - int(count * topk / 100)
                                                                 - 1]
        parts = np.where(sizes >= limits[:, None, None], parts, 0)
    total = parts.sum(0)
    counts = parts * total > 0 if mode == "ties" else parts != 0
    merged = np.where(counts, parts, 0).sum(0)
    if aggregate == "mean":
        merged = merged / np.maximum(counts.sum(0), 1)
    return base + scale * u[:, :rank] @ merged


def lines(base, models, beta=0.5, alpha=-1, blocks=0):
    """Of a tensor in no block; the last model stands for the merge."""
    tasks = deltas(base, models)
    norm = np.abs(tasks[-1]).sum()
    if alpha < 0:
        alpha = np.abs(sum(tasks)).sum() / norm / len(models) if norm else 0
    return base + alpha * tasks[-1]


def boost(base, models, beta=0.01, alpha=1.0):
    """The last model stands for the merge, as in svc."""
    merged = deltas(base, models)[-1]
    if not is_matrix(base) or base.size == 0:
        return base + alpha * merged
    u, s, vt = svd(merged, base.dtype)
    if s.sum() > 0:
        full = np.linalg.svd(merged, compute_uv=False)
        first = int(np.argmax(np.cumsum(s) >= beta * full.sum()))
        s = np.where(s > 0, np.maximum(s, s[first]), 0)
    return base + alpha * (u * s) @ vt


def svc(base, models, alpha=0.1):
    tasks = deltas(base, models)
    if not is_matrix(base) or base.size == 0:
        return models[-1]
    u, s, vt = np.linalg.svd(tasks[-1], full_matrices=False)
    rows = s[:, None] * vt
    total = 0
    for task in tasks:
        own = u.T @ task
        share = (rows * own).sum(1) / np.maximum((own * own).sum(1), 1e-12)
        total = total + np.maximum(share, alpha)
    return base + u @ ((len(models) / total)[:, None] * rows)
