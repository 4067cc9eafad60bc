"""Speed of the methods that decompose matrices, beside the same in torch: decompose.py MERGECRAFT

Five models of BERT-base's shapes, of which BLOCKS blocks (default 1) are merged: all blocks have
the same shapes, so ratios do not depend on their number. torch.linalg.svd in float32 is what the
authors' code calls. Both use all CPUs.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import save_file

MODELS, BLOCKS = 5, int(os.environ.get("BLOCKS", "1"))
SHAPES = {"attention.query": (768, 768), "attention.key": (768, 768),
          "attention.value": (768, 768), "attention.output": (768, 768),
          "intermediate": (3072, 768), "output": (768, 3072)}


def draw(generator, scale):
    return {f"block.{b}.{name}.weight": scale * torch.randn(shape, generator=generator)
            for b in range(BLOCKS) for name, shape in SHAPES.items()}


def polar(matrix):
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    return u @ v


def iso_c(tasks):
    u, s, v = torch.linalg.svd(sum(tasks), full_matrices=False)
    return s.mean() * (u @ v)


def tsvm(tasks):
    rank = min(tasks[0].shape) // len(tasks)
    parts = [torch.linalg.svd(task, full_matrices=False) for task in tasks]
    u = torch.cat([p[0][:, :rank] for p in parts], 1)
    s = torch.cat([p[1][:rank] for p in parts])
    v = torch.cat([p[2][:rank] for p in parts])
    return polar(u) @ torch.diag(s) @ polar(v)


def wudi(tasks, iterations=300, lr=1e-5):
    """As the authors' code: autograd and Adam on the sum."""
    x = torch.nn.Parameter(sum(tasks))
    adam = torch.optim.Adam([x], lr=lr)
    for _ in range(iterations):
        loss = sum(((x - t) @ t.T).square().sum() / t.square().sum() for t in tasks)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return x.detach()


def main(command, wanted):
    generator = torch.Generator().manual_seed(1)
    base = draw(generator, .04)
    models = [{n: t + d for (n, t), d in zip(base.items(), draw(generator, .001).values())}
              for _ in range(MODELS)]
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index, tensors in enumerate([base, *models]):
            paths.append(f"{folder}/{index}.safetensors")
            save_file(tensors, paths[-1])
        for method in (iso_c, tsvm, wudi):
            name = method.__name__
            if wanted and name not in wanted:
                continue
            out = pathlib.Path(folder) / name
            start = time.perf_counter()
            subprocess.run([command, "merge", name, *paths[1:], "--base", paths[0], "-o", out, "-q",
                            "--no-sync"], check=True)
            ours = time.perf_counter() - start
            start = time.perf_counter()
            for tensor in base:
                base[tensor] + method([m[tensor] - base[tensor] for m in models])
            theirs = time.perf_counter() - start
            print(f"{name}: mergecraft {ours:.2f} s, torch {theirs:.2f} s, "
                  f"{theirs / ours:.1f}x faster", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], set(sys.argv[2:]))
