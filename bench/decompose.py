"""Speed of methods that decompose matrices, beside torch: decompose.py COMMAND [METHOD…]

MODELS (5) models of BERT-base's shapes, of which BLOCKS (1) blocks are merged: all blocks have the
same shapes, so ratios hardly depend on their number. torch.linalg.svd in float32 is what the
authors' code calls. Each side is a process of its own. Prints seconds on all CPUs, which both sides
use (the median of REPEATS (3) alternating runs), CPU seconds on one thread, which other processes
disturb little, and peak memory. In torch, only the methods are measured; the command also starts,
reads and writes.
"""
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

# The process that starts the others stays small: a child's peak memory includes its parent's.
if sys.argv[1].startswith("--"):
    import torch
    from safetensors.torch import load_file, save_file

MODELS, BLOCKS = int(os.environ.get("MODELS", "5")), int(os.environ.get("BLOCKS", "1"))
REPEATS = int(os.environ.get("REPEATS", "3"))
ITERATIONS = int(os.environ.get("ITERATIONS", "30"))  # of WUDI's 300: time is proportional
SHAPES = {"attention.query": (768, 768), "attention.key": (768, 768),
          "attention.value": (768, 768), "attention.output": (768, 768),
          "intermediate": (3072, 768), "output": (768, 3072)}


def draw(generator, scale):
    return {f"block.{b}.{name}.weight": scale * torch.randn(shape, generator=generator)
            for b in range(BLOCKS) for name, shape in SHAPES.items()}


def write_models(folder):
    generator = torch.Generator().manual_seed(1)
    base = draw(generator, .04)
    save_file(base, f"{folder}/0.safetensors")
    for i in range(MODELS):
        save_file({n: base[n] + d for n, d in draw(generator, .001).items()},
                  f"{folder}/{i + 1}.safetensors")


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
    """Prints [CPU seconds, seconds, peak MB]."""
    torch.set_num_threads(int(threads))
    base, *models = (load_file(f"{folder}/{i}.safetensors") for i in range(MODELS + 1))
    METHODS[name]([torch.randn(64, 32) for _ in models])  # warms up
    cpu, start = time.process_time(), time.perf_counter()
    merged = {n: base[n] + METHODS[name]([m[n] - base[n] for m in models]) for n in base}
    seconds = time.process_time() - cpu, time.perf_counter() - start
    save_file(merged, f"{folder}/{name}.torch.safetensors")
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def in_torch(*arguments):
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout or "null")


def run_torch(name, threads, folder):
    return in_torch("--merge", name, threads, folder)


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


def print_difference(name, folder):
    """Largest relative difference of an update, in the norm of a tensor."""
    base = load_file(f"{folder}/0.safetensors")
    other = load_file(f"{folder}/{name}.torch.safetensors")
    own = load_file(pathlib.Path(folder, name) / "model.safetensors")
    print(max(float((own[n] - other[n]).norm() / (other[n] - base[n]).norm()) for n in base))


def compare(command, name, folder):
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(run_command(command, name, CPUS, folder))
        theirs.append(run_torch(name, CPUS, folder))
    own, other = (statistics.median(r[1] for r in runs) for runs in (ours, theirs))
    cpu = run_command(command, name, 1, folder)[0], run_torch(name, 1, folder)[0]
    print(f"{name}: {own:.2f} {cpu[0]:.2f} {ours[0][2]:.0f}; "
          f"{other:.2f} {cpu[1]:.2f} {theirs[0][2]:.0f}; {other / own:.1f} {cpu[1] / cpu[0]:.1f}; "
          f"updates differ by {in_torch('--difference', name, folder):.1e}", flush=True)


def main(command, wanted):
    with tempfile.TemporaryDirectory() as folder:
        in_torch("--draw", folder)
        print("method: s on all CPUs, CPU s on one thread, peak MB; torch; torch / mergecraft")
        for name in wanted or METHODS:
            compare(command, name, folder)


CPUS = os.cpu_count()
MODES = {"--draw": write_models, "--merge": merge_in_torch, "--difference": print_difference}
if __name__ == "__main__":
    if sys.argv[1] in MODES:
        MODES[sys.argv[1]](*sys.argv[2:])
    else:
        main(sys.argv[1], sys.argv[2:])
