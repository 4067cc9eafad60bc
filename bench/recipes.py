"""How fast the methods of mergekit are: against reading the inputs and writing the output, and
against mergekit.

recipes.py BUILD_DIR INPUTS [RUNS] [--methods A,B] [--mergekit PYTHON] [--cpu]

INPUTS: a folder with llama-0 (the base) to llama-3, as `make_inputs.py DIR llama` makes them.
Whole processes, files in the page cache, in turn; medians of RUNS runs (3), one of mergekit. The
floor is bench/floor.c. On a machine with other work, seconds say little: --cpu compares processor
time, that of the floor with that of the merge per CPU.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
from pathlib import Path

from measure import row, run, table

WEIGHT = {"weight": 0.3}
SPARSE = {"weight": 0.3, "density": 0.5}
# method: its parameters, the number of models besides the base, whether it takes the base
METHODS = {
    "linear": (WEIGHT, 3, False),
    "passthrough": ({"scale": 0.5}, 1, False),
    "slerp": ({"t": 0.3}, 1, True),
    "nearswap": ({"t": 0.001}, 1, True),
    "nuslerp": (WEIGHT, 2, False),
    "multislerp": (WEIGHT, 3, False),
    "karcher": ({}, 3, False),
    "task_arithmetic": (WEIGHT, 3, True),
    "ties": (SPARSE, 3, True),
    "breadcrumbs": (SPARSE, 3, True),
    "breadcrumbs_ties": (SPARSE, 3, True),
    "dare_linear": (SPARSE, 3, True),
    "dare_ties": (SPARSE, 3, True),
    "della": (SPARSE, 3, True),
    "della_linear": (SPARSE, 3, True),
    "sce": ({"select_topk": 0.3}, 3, True),
    "model_stock": ({}, 3, True),
    "arcee_fusion": ({}, 1, True),
    "ram": ({}, 3, True),
    "ramplus_tl": ({}, 3, True),
}
PER_MODEL = ("weight", "density", "scale")


def recipe_of(inputs: Path, method: str) -> dict[str, object]:
    parameters, count, based = METHODS[method]
    own = {name: value for name, value in parameters.items() if name in PER_MODEL}
    recipe: dict[str, object] = {
        "merge_method": method, "dtype": "float32", "out_dtype": "bfloat16",
        "parameters": {name: value for name, value in parameters.items() if name not in PER_MODEL},
        "models": [{"model": str(inputs / f"llama-{i}"), "parameters": own}
                   for i in range(1, count + 1)]}
    if based:
        recipe["base_model"] = str(inputs / "llama-0")
    return recipe


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(options: argparse.Namespace, method: str) -> None:
    out, path = options.inputs / "out", options.inputs / "recipe.yml"
    path.write_text(json.dumps(recipe_of(options.inputs, method)))  # YAML is a superset of JSON
    _, count, based = METHODS[method]
    files = [str(options.inputs / f"llama-{i}/model.safetensors")
             for i in range(0 if based else 1, count + 1)]
    commands = {
        "floor": [str(options.build / "bench/floor"), str(out), str(os.path.getsize(files[0])),
                  *files],
        "ours": [str(options.build / "mergecraft"), "merge", str(path), "-o", str(out), "-q",
                 "--no-sync"]}
    seconds: dict[str, list[float]] = {"floor": [], "ours": []}
    resident = 0
    for _ in range(options.runs):
        for name, command in commands.items():
            before = processor_seconds()
            cost = run(command, out)
            spent = processor_seconds() - before
            cpus = 1 if name == "floor" else os.cpu_count() or 1
            seconds[name].append(spent / cpus if options.cpu else cost.seconds)
            resident = max(resident, cost.resident if name == "ours" else 0)
    ours, floor = (statistics.median(seconds[name]) for name in ("ours", "floor"))
    peer = None
    if options.mergekit:
        tool = str(Path(options.mergekit).parent / "mergekit-yaml")
        peer = run([tool, str(path), str(out), "--no-copy-tokenizer"], out).seconds
    row([method, f"{floor:.2f}", f"{ours:.2f}", f"{ours / floor:.2f}", f"{resident / 1e6:.0f}",
         f"{peer:.1f}" if peer else "–", f"{peer / ours:.1f}" if peer else "–"])
    shutil.rmtree(out, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("runs", nargs="?", type=int, default=3)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--mergekit", default="")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    table(["method", "floor s", "ours s", "× floor", "ours MB", "mergekit s", "mergekit / ours"])
    for method in options.methods:
        measure(options, method)


main()
