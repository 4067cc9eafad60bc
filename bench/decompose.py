"""Speed of methods that decompose matrices, beside torch: decompose.py COMMAND [METHOD…]

MODELS (5) models of BERT-base's shapes, of which BLOCKS (1) blocks are merged: all blocks have the
same shapes, so ratios do not depend on their number. torch.linalg.svd in float32 is what the
authors' code calls. Each side is a process of its own. Prints CPU seconds on one thread, which
other processes disturb little, seconds on all CPUs, and peak memory. In torch, only the methods
are measured; the command also starts, reads and writes.
"""
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

MODELS, BLOCKS = int(os.environ.get("MODELS", "5")), int(os.environ.get("BLOCKS", "1"))
ITERATIONS = int(os.environ.get("ITERATIONS", "30"))  # of WUDI's 300: time is proportional
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


def cart(tasks, share=.04, scale=1.6):
    mean, rank = sum(tasks) / len(tasks), int(share * min(tasks[0].shape))
    total = torch.zeros_like(mean)
    for task in tasks:
        u, s, v = torch.linalg.svd(task - mean, full_matrices=False)
        total += u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]
    return mean + scale * total


def wudi(tasks, lr=1e-5):
    """As the authors' code: autograd and Adam on the sum."""
    x = torch.nn.Parameter(sum(tasks))
    adam = torch.optim.Adam([x], lr=lr)
    for _ in range(ITERATIONS):
        loss = sum(((x - t) @ t.T).square().sum() / t.square().sum() for t in tasks)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return x.detach()


METHODS = {method.__name__: method for method in (iso_c, tsvm, cart, wudi)}


def merge_in_torch(name, threads, folder):
    """In a process of its own: prints [CPU seconds, seconds, peak MB]."""
    torch.set_num_threads(threads)
    base, *models = (load_file(f"{folder}/{i}.safetensors") for i in range(MODELS + 1))
    METHODS[name]([torch.randn(64, 32) for _ in models])  # warms up
    cpu, start = time.process_time(), time.perf_counter()
    merged = {n: base[n] + METHODS[name]([m[n] - base[n] for m in models]) for n in base}
    seconds = time.process_time() - cpu, time.perf_counter() - start
    save_file(merged, f"{folder}/{name}.torch.safetensors")
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def run_torch(name, threads, folder):
    done = subprocess.run([sys.executable, __file__, "--torch", name, str(threads), folder],
                          check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def run_command(command, name, threads, folder):
    paths = [f"{folder}/{i}.safetensors" for i in range(MODELS + 1)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [command, "merge", name, *paths[1:], "--base", paths[0], "-o", f"{folder}/{name}", "-q",
         "--no-sync", "--overwrite", "--threads", str(threads),
         *(["-p", f"iterations={ITERATIONS}"] if name == "wudi" else [])])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{name}: the merge failed")
    seconds = time.perf_counter() - start
    return used.ru_utime + used.ru_stime, seconds, used.ru_maxrss / 1024


def difference(name, folder):
    """Largest relative difference of an update, in the norm of a tensor."""
    base = load_file(f"{folder}/0.safetensors")
    other = load_file(f"{folder}/{name}.torch.safetensors")
    own = load_file(pathlib.Path(folder, name) / "model.safetensors")
    return max(float((own[n] - other[n]).norm() / (other[n] - base[n]).norm()) for n in base)


def main(command, wanted):
    generator = torch.Generator().manual_seed(1)
    base = draw(generator, .04)
    with tempfile.TemporaryDirectory() as folder:
        save_file(base, f"{folder}/0.safetensors")
        for i in range(MODELS):
            save_file({n: base[n] + d for n, d in draw(generator, .001).items()},
                      f"{folder}/{i + 1}.safetensors")
        print("method: CPU s on one thread, s on all CPUs, peak MB; torch; torch / mergecraft")
        for name in wanted or METHODS:
            own, other = zip(*[(run_command(command, name, threads, folder),
                                run_torch(name, threads, folder)) for threads in (1, CPUS)])
            ours, theirs = ((x[0][0], x[1][1], x[1][2]) for x in (own, other))
            print(f"{name}: {ours[0]:.2f} {ours[1]:.2f} {ours[2]:.0f}; "
                  f"{theirs[0]:.2f} {theirs[1]:.2f} {theirs[2]:.0f}; "
                  f"{theirs[0] / ours[0]:.1f} {theirs[1] / ours[1]:.1f}; "
                  f"updates differ by {difference(name, folder):.1e}", flush=True)


CPUS = os.cpu_count()
if __name__ == "__main__":
    if sys.argv[1] == "--torch":
        merge_in_torch(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main(sys.argv[1], sys.argv[2:])
