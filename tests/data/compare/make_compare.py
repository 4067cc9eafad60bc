"""Writes a base, three models, and what a comparison of them finds, computed by numpy in float64.

python3 make_compare.py, in this folder, with numpy and ml_dtypes installed.
"""

import json
import struct

import ml_dtypes
import numpy as np

DTYPES = {"float32": "F32", "bfloat16": "BF16", "int64": "I64"}
MODELS = ("a", "b", "c")


def write(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        begin = len(data)
        data += tensor.tobytes()
        header[name] = {
            "dtype": DTYPES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [begin, len(data)],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def make(random):
    """Task vectors that are sparse, dense and zero; equal infinities and NaN; more than a leaf."""
    base = {
        "embeddings.word_embeddings.weight": random.normal(size=(50, 40)).astype(
            ml_dtypes.bfloat16),
        "embeddings.position_ids": np.arange(8),
        "encoder.layer.0.attention.self.query.weight": random.normal(size=(72, 64)),
        "encoder.layer.0.output.LayerNorm.weight": random.normal(size=30),
        "encoder.layer.1.attention.self.query.weight": random.normal(size=(8, 9)),
        # Squares of these overflow float32, or underflow in it.
        "encoder.layer.1.attention.self.key.weight": 1e25 * random.normal(size=(40, 30)),
        "encoder.layer.1.attention.self.value.weight": 1e-27 * random.normal(size=(40, 30)),
        # Changes that are not finite: their signs count, unless one is NaN.
        "encoder.layer.1.output.LayerNorm.weight": random.normal(size=600),
    }
    base["encoder.layer.0.output.LayerNorm.weight"][:3] = (np.inf, -np.inf, np.nan)
    base = {n: t.astype(np.float32) if t.dtype == np.float64 else t for n, t in base.items()}
    models = []
    for index in range(len(MODELS)):
        model = {}
        for name, tensor in base.items():
            if tensor.dtype == np.int64:
                model[name] = tensor + (index == 2)
                continue
            change = 0.1 * random.normal(size=tensor.shape)
            change *= random.random(tensor.shape) < (0.3, 0.9, 0.6)[index]
            if index == 1 and "layer.1" in name:
                change *= 0
            if "layer.1.attention.self.key" in name or "value" in name:
                change *= np.abs(tensor).max()
            if "layer.1.output" in name:
                change[:3] = (np.inf, -np.inf, np.nan)[index], -np.inf, np.inf
                change[3:5] = 0, -np.inf if index else 1
            model[name] = (tensor.astype(np.float64) + change).astype(tensor.dtype)
        models.append(model)
    return base, models


def row(name, base, models):
    integers = base.dtype == np.int64
    b = base.astype(np.float64)
    taus, differing = [], []
    for model in models:
        m = model.astype(np.float64)
        equal = (m == b) | (np.isnan(m) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            taus.append(np.where(equal, 0, 0 if integers else m - b).ravel())
        differing.append(b.size if integers and not equal.all() else (~equal).sum())
    taus = np.array(taus)
    number = ~np.isnan(taus).any(0)
    plus, minus = (taus > 0).any(0) & number, (taus < 0).any(0) & number
    norm = 0 if integers else np.sqrt((b**2).sum())
    out = [name, b.size, norm, (plus ^ minus).sum(), (plus & minus).sum()]
    for tau, count in zip(taus, differing):
        out += [np.sqrt((tau**2).sum()), np.abs(tau).mean(), np.abs(tau).max(), count]
    for i in range(len(models)):
        for j in range(i + 1, len(models)):
            norms = np.sqrt((taus[i] ** 2).sum()) * np.sqrt((taus[j] ** 2).sum())
            with np.errstate(invalid="ignore"):
                out.append((taus[i] * taus[j]).sum() / norms if norms else float("nan"))
    return out


def ranks(base, models):
    """The effective rank of each task vector: exp of the entropy of its singular values."""
    found = []
    for model in models:
        s = np.linalg.svd(model.astype(np.float64) - base.astype(np.float64), compute_uv=False)
        p = s[s > 0] / s.sum() if s.any() else s
        found.append(np.exp(-(p * np.log(p)).sum()) if s.any() else float("nan"))
    return found


def main():
    base, models = make(np.random.default_rng(5))
    write("base.safetensors", base)
    for name, model in zip(MODELS, models):
        write(f"{name}.safetensors", model)
    with open("expected.csv", "w") as file:
        for name, tensor in base.items():
            values = row(name, tensor, [model[name] for model in models])
            file.write(",".join(f"{v:.17g}" if isinstance(v, float) else str(v) for v in values))
            file.write("\n")
    with open("ranks.csv", "w") as file:
        for name, tensor in base.items():
            matrix = tensor.ndim == 2 and tensor.dtype != np.int64
            values = [float("nan")] * len(MODELS)
            if matrix:
                values = ranks(tensor, [model[name] for model in models])
            file.write(",".join([name, *(f"{v:.17g}" for v in values)]) + "\n")


main()
