"""How the cost of a merge grows: with the number of models, their size, the threads; and what
cold files cost.

growth.py BUILD_DIR FOLDER inputs                          makes the checkpoints
growth.py BUILD_DIR FOLDER models|sizes|threads|cold [RUNS]    measures; prints a table, adds to
FOLDER/growth.json
growth.py BUILD_DIR FOLDER plot SVG                            draws what was measured

Checkpoints are f32 and random, 16 GB in all; what is missing is made. Needs numpy; matplotlib
for the plot. The floor is reading the inputs once and writing the output on one thread
(floor.c). Medians of RUNS runs (3); memory is the largest. `cold` drops the page cache before
each run, which needs root.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

import checkpoint
from measure import Cost, row, run, table

BUILD, FOLDER, WHAT = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
RUNS = int(sys.argv[4]) if len(sys.argv) > 4 and sys.argv[4].isdigit() else 3
MB = 1_000_000
CHUNK = 4 << 20  # elements of a tensor, at most
MODELS = (2, 4, 8, 16, 32, 64)
SIZES = (1, 4, 16, 64, 256, 1000, 5000)
THREADS = (1, 2, 4, 8)


def model(index: int, size_mb: int) -> str:
    """The folder of model `index` of a size: tensors of at most 16 MB, near a common ancestor."""
    folder = FOLDER / f"{size_mb}mb-{index}"
    if (folder / "model.safetensors").exists():
        return str(folder)
    elements = size_mb * MB // 4
    shapes = {f"layer.{at // CHUNK:04}.weight": (min(CHUNK, elements - at),)
              for at in range(0, elements, CHUNK)}
    own = np.random.default_rng(1).standard_normal(CHUNK, np.float32) * np.float32(0.02)
    own += np.random.default_rng(1000 + index).standard_normal(CHUNK,
                                                               np.float32) * np.float32(0.002)
    checkpoint.write(folder / "model.safetensors", "F32", shapes,
                     lambda name, count: np.roll(own, 977 * int(name.split(".")[1]))[:count])
    return str(folder)


def weights(folders: list[str]) -> list[str]:
    return [f"{folder}/model.safetensors" for folder in folders]


def drop_caches() -> None:
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")


def measure(label: str, models: list[str], base: str | None, method: str, extra: list[str],
            cold: bool = False) -> dict[str, float]:
    out = FOLDER / "out"
    inputs = models + [base] * (base is not None)
    size = os.path.getsize(weights(inputs)[0])
    ours = [str(BUILD / "mergecraft"), "merge", method, *models, "-o", str(out), "-q", "--no-sync",
            *extra]
    ours += ["--base", base] if base else []
    floor = [str(BUILD / "bench" / "floor"), str(out), str(size), *weights(inputs)]
    costs: dict[str, list[Cost]] = {"ours": [], "floor": []}
    for _ in range(RUNS):
        for name, command in (("floor", floor), ("ours", ours)):
            if cold:
                drop_caches()
            costs[name].append(run(command, out, 0.05))
    run(["/bin/true"], out)  # removes it
    seconds = {name: statistics.median(c.seconds for c in found) for name, found in costs.items()}
    result = {"input_mb": size * len(inputs) / MB, "floor": seconds["floor"],
              "ours": seconds["ours"],
              "resident_mb": max(c.resident for c in costs["ours"]) / MB,
              "private_mb": max(c.private for c in costs["ours"]) / MB}
    row([label, method, f"{result['input_mb']:.0f}", f"{result['floor']:.3f}",
         f"{result['ours']:.3f}",
         f"{result['ours'] / result['floor']:.2f}", f"{result['resident_mb']:.0f}",
         f"{result['private_mb']:.0f}"])
    return result


def keep(axis: str, method: str, points: dict[int, dict[str, float]]) -> None:
    path = FOLDER / "growth.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found.setdefault(axis, {})[method] = points
    path.write_text(json.dumps(found))


def by_models() -> None:
    base = model(0, 32)
    all_of_them = [model(i + 1, 32) for i in range(max(MODELS))]
    for method in ("soup", "median", "ties"):
        keep("models", method,
             {n: measure(f"{n} models", all_of_them[:n], base if method == "ties" else None, method,
                         [])
                                for n in MODELS})


def by_size() -> None:
    points: dict[str, dict[int, dict[str, float]]] = {"soup": {}, "ties": {}}
    for size in SIZES:
        one, other = model(0, size), model(1, size)
        points["soup"][size] = measure(f"2 × {size} MB", [one, other], None, "soup", [])
        points["ties"][size] = measure(f"2 × {size} MB", [other], one, "ties", [])
    for method, found in points.items():
        keep("sizes", method, found)


def by_threads() -> None:
    base, models = model(0, 256), [model(i, 256) for i in (1, 2, 3)]
    for method in ("median", "ties", "dare"):
        keep("threads", method,
             {n: measure(f"{n} threads", models, None if method == "median" else base, method,
                                            ["--threads", str(n)]) for n in THREADS})


def cold() -> None:
    models = [model(i, 1000) for i in (0, 1)]
    for method in ("soup", "median"):
        keep("cold", method, {0: measure("cold", models, None, method, [], cold=True)})
        keep("warm", method, {0: measure("in the page cache", models, None, method, [])})


def plot(target: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "mergecraft"
    found = json.loads((FOLDER / "growth.json").read_text())
    titles = {"models": "models of 32 MB", "sizes": "MB a model, two models",
              "threads": "threads, models of 256 MB"}
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    for axis, (name, title) in zip(axes, titles.items()):
        for method, points in found.get(name, {}).items():
            x = [int(n) for n in points]
            axis.plot(x, [p["ours"] for p in points.values()], "o-", label=method, markersize=3)
        method, points = next(iter(found[name].items()))
        axis.plot([int(n) for n in points], [p["floor"] for p in points.values()], "k:",
                  label=f"floor of {method}")
        axis.set_xscale("log", base=10 if name == "sizes" else 2)
        axis.set_yscale("log")
        axis.set_xlabel(title)
        axis.set_ylabel("seconds")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    if WHAT == "plot":
        plot(Path(sys.argv[4]))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    if WHAT == "inputs":
        for size, count in {32: max(MODELS) + 1, 256: 4,
                            **{size: 2 for size in SIZES if size != 256}}.items():
            for index in range(count):
                model(index, size)
        return
    table(["what", "method", "input MB", "floor s", "ours s", "× floor", "resident MB",
           "private MB"])
    {"models": by_models, "sizes": by_size, "threads": by_threads, "cold": cold}[WHAT]()


main()
