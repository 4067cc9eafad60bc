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


def mean_rule(base, models, alpha):
    return base.astype(np.float64) + alpha * sum(deltas(base, models)) / len(models)


def svd(matrix, dtype):
    """Singular triplets with null directions set to zero."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    epsilon = np.finfo(np.float64 if dtype == np.float64 else np.float32).eps
    known = s > (max(matrix.shape) * epsilon * s[0] if len(s) else 0)
    return u * known, s * known, vt * known[:, None]


def polar(matrix, dtype):
    u, _, vt = svd(matrix, dtype)
    return u @ vt


def iso_c(base, models, alpha=1.0):
    if not is_matrix(base):
        return mean_rule(base, models, alpha)
    total = sum(deltas(base, models))
    s = np.linalg.svd(total, compute_uv=False)
    return base + alpha * (s.mean() if len(s) else 0) * polar(total, base.dtype)


def tsvm(base, models, alpha=1.0, weights=None):
    rank = min(base.shape) // len(models) if is_matrix(base) else 0
    if rank == 0:
        return mean_rule(base, models, alpha)
    parts = []
    for weight, delta in zip(weights or [1.0] * len(models), deltas(base, models)):
        u, s, vt = svd(weight * delta, base.dtype)
        parts.append((u[:, :rank], s[:rank], vt[:rank]))
    u, s, vt = np.hstack([p[0] for p in parts]), np.hstack([p[1] for p in parts]), \
        np.vstack([p[2] for p in parts])
    return base + alpha * (polar(u, base.dtype) * s) @ polar(vt, base.dtype)


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
    return base + alpha * mean * polar(u, base.dtype) @ polar(vt, base.dtype)


def cart(base, models, rank=0.04, scale=1.6):
    mean = sum(model.astype(np.float64) for model in models) / len(models)
    if not is_matrix(base) or rank == 0 or base.size == 0:
        return mean
    kept = max(1, int(rank * min(base.shape)))
    total = np.zeros(base.shape)
    for model in models:
        u, s, vt = np.linalg.svd(model.astype(np.float64) - mean, full_matrices=False)
        total += (u[:, :kept] * s[:kept]) @ vt[:kept]
    return mean + scale * total


def wudi(base, models, iterations=300, lr=1e-5, solver="adam"):
    if not is_matrix(base):
        return mean_rule(base, models, 1)
    used = [delta for delta in deltas(base, models) if np.any(delta)]
    x = sum(used, np.zeros(base.shape))
    q = sum((d.T @ d / np.sum(d * d) for d in used), np.zeros((base.shape[1],) * 2))
    r = sum((d @ (d.T @ d) / np.sum(d * d) for d in used), np.zeros(base.shape))
    if solver == "exact" and used:
        ridge = 1e-10 * np.trace(q) / len(q)
        return base + np.linalg.solve(q + ridge * np.eye(len(q)), r.T).T
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
