"""Speed of recipes: each method of mergekit, stages that feed each other, and the start.

recipes.py BUILD_DIR INPUTS [RUNS] [--kind llama-small] [--methods A,B] [--mergekit PYTHON] [--cpu]

INPUTS: a folder with KIND-0 (the base) to KIND-3, as `make_inputs.py DIR KIND 4` makes them
(KIND: llama). Whole processes, files in the page cache, in turn; medians of RUNS runs (3), one of
mergekit. The floor is bench/floor.c: it reads the inputs once and writes the output. On a machine
with other work, seconds say little: --cpu compares processor time, that of the floor with that of
the merge per CPU; mergekit's is then its processor time per CPU, too.

stages: three recipes in one file, each of which needs the one before, against the floor of all
their inputs. start: --dry-run of a recipe of three models of 400 tensors.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
from pathlib import Path

import numpy as np

import checkpoint
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
        "models": [{"model": f"{inputs}-{i}", "parameters": own} for i in range(1, count + 1)]}
    if based:
        recipe["base_model"] = f"{inputs}-0"
    return recipe


def stages_of(inputs: Path) -> str:
    """Three documents: YAML is a superset of JSON."""
    def stage(method: str, models: list[str], base: str = "") -> dict[str, object]:
        recipe: dict[str, object] = {
            "merge_method": method, "dtype": "float32", "out_dtype": "bfloat16",
            "models": [{"model": model, "parameters": WEIGHT} for model in models]}
        return recipe | ({"base_model": base} if base else {})

    first = stage("linear", [f"{inputs}-1", f"{inputs}-2"]) | {"name": "first"}
    second = stage("task_arithmetic", ["first", f"{inputs}-3"], f"{inputs}-0") | {"name": "second"}
    last = stage("linear", ["second", f"{inputs}-3"])
    return "\n---\n".join(json.dumps(recipe) for recipe in (first, second, last))


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(command: list[str], out: Path, options: argparse.Namespace,
          cpus: int) -> tuple[float, int]:
    """Seconds (of the processor, per CPU, if asked), and resident bytes."""
    before = processor_seconds()
    cost = run(command, out)
    spent = (processor_seconds() - before) / cpus
    return spent if options.cpu else cost.seconds, cost.resident


def compare(options: argparse.Namespace, name: str, recipe: str, models: list[int],
            peer: bool = True) -> None:
    """`models`: those that are read."""
    out, path = options.inputs / "out", options.inputs / "recipe.yml"
    path.write_text(recipe)
    cpus = os.cpu_count() or 1
    files = [f"{options.models}-{i}/model.safetensors" for i in models]
    floor_command = [str(options.build / "bench/floor"), str(out), str(os.path.getsize(files[0])),
                     *files]
    command = [str(options.build / "mergecraft"), "merge", str(path), "-o", str(out), "-q",
               "--no-sync"]
    timed(floor_command, out, options, 1)  # into the page cache
    floors, ours = [], []
    for _ in range(options.runs):
        floors.append(timed(floor_command, out, options, 1)[0])
        ours.append(timed(command, out, options, cpus))
    floor = statistics.median(floors)
    mine = statistics.median(seconds for seconds, _ in ours)
    resident = max(size for _, size in ours)
    theirs = 0.0
    if options.mergekit and peer:
        tool = str(Path(options.mergekit).parent / "mergekit-yaml")
        theirs = timed([tool, str(path), str(out), "--no-copy-tokenizer"], out, options, cpus)[0]
    row([name, f"{floor:.2f}", f"{mine:.2f}", f"{mine / floor:.2f}", f"{resident / 1e6:.0f}",
         f"{theirs:.1f}" if theirs else "–", f"{theirs / mine:.0f}" if theirs else "–"])
    shutil.rmtree(out, ignore_errors=True)
    path.unlink()


def start(options: argparse.Namespace) -> None:
    """Reading the recipe, opening the models and planning."""
    folder = options.inputs / "start"
    folder.mkdir(exist_ok=True)
    shapes = {f"model.layers.{i // 9}.part{i % 9}.weight": (8, 8) for i in range(400)}
    for index in range(4):
        model = folder / f"tiny-{index}"
        checkpoint.write(model / "model.safetensors", "BF16", shapes,
                         lambda name, count: np.zeros(count, np.float32))
        (model / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 45}')
    path = folder / "recipe.yml"
    path.write_text(json.dumps(recipe_of(folder / "tiny", "ties")))
    command = [str(options.build / "mergecraft"), "merge", str(path), "-o", str(folder / "out"),
               "--dry-run"]
    seconds = [run(command, folder / "out").seconds for _ in range(3 * options.runs)]
    print(f"\nstart, 400 tensors: {statistics.median(seconds) * 1e3:.0f} ms")
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("runs", nargs="?", type=int, default=3)
    parser.add_argument("--kind", default="llama")
    parser.add_argument("--methods", type=lambda text: text.split(","),
                        default=[*METHODS, "stages", "start"])
    parser.add_argument("--mergekit", default="")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    options.models = options.inputs / options.kind
    table(["method", "floor s", "ours s", "× floor", "ours MB", "mergekit s", "mergekit / ours"])
    for method in options.methods:
        if method == "stages":
            compare(options, method, stages_of(options.models), [1, 2, 0, 3, 3], peer=False)
        elif method == "start":
            start(options)
        else:
            _, count, based = METHODS[method]
            compare(options, method, json.dumps(recipe_of(options.models, method)),
                    list(range(0 if based else 1, count + 1)))


main()
