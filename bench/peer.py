"""The peer: the same formulas in torch, as people write them. peer.py METHOD OUT BASE MODEL..."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def median(base, models):
    return torch.median(torch.stack(models), dim=0).values


def soup(base, models):
    return torch.stack(models).mean(0)


def task(base, models):
    return base + (torch.stack(models) - base).mean(0)


def ties(base, models, k=0.1):
    vectors = torch.stack(models) - base
    size = vectors.abs().flatten()
    threshold = size.kthvalue(max(1, int((1 - k) * size.numel()))).values
    kept = torch.where(vectors.abs() >= threshold, vectors, 0.0)
    agree = torch.sign(kept) == torch.sign(kept.sum(0))
    kept = torch.where(agree, kept, 0.0)
    return base + kept.sum(0) / (kept != 0).sum(0).clamp(min=1)


def dare(base, models, p=0.5):
    vectors = torch.stack(models) - base
    mask = torch.rand_like(vectors) >= p
    return base + (vectors * mask / (1 - p)).sum(0) / mask.sum(0).clamp(min=1)


METHODS = {"median": median, "soup": soup, "task": task, "ties": ties, "dare": dare}


def main() -> None:
    method, out = METHODS[sys.argv[1]], Path(sys.argv[2])
    base, *models = [load_file(Path(folder) / "model.safetensors") for folder in sys.argv[3:]]
    merged = {}
    for name, tensor in base.items():
        layer = method(tensor.float(), [model[name].float() for model in models])
        merged[name] = layer.to(tensor.dtype)
    out.mkdir(parents=True, exist_ok=True)
    save_file(merged, out / "model.safetensors", metadata={"format": "pt"})


main()
