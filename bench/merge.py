"""How fast merges are: against reading the inputs and writing the output, and against other tools.

merge.py BUILD_DIR INPUTS KIND [RUNS] [--methods A,B] [--no-peer] [--mergekit PYTHON]
[--peer-runs N]

INPUTS: the folder that make_inputs.py filled. KIND: bert (five f32 models, the peer is the same
formula in torch, peer.py) or llama (three bf16 models of 1.2 billion parameters, the peer is
mergekit, run by the Python that has it). Whole processes, files in the page cache, in turn
(floor, ours, ours synced, peer) so that the machine's moods meet all of them; after a peer,
which may have pushed the files out of the page cache, the floor is run once more without being
timed; medians of RUNS runs (of N for the peer), ratios between them, the most resident memory,
and for mergekit, which maps its inputs, the most private memory.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path

from measure import Cost, row, run, table

HERE = Path(__file__).parent
NEEDS_BASE = {"task", "ties", "dare", "stock", "max_magnitude"}
METHODS = {"bert": ["median", "soup", "task", "stock", "ties", "dare", "max_magnitude"],
           "llama": ["soup", "slerp", "task", "ties", "dare"]}
TORCH = {"median", "soup", "task", "ties", "dare"}
# Of ours: its arguments on the command line. Of mergekit: the method that is nearest, of all and of
# each model.
SETTINGS = {"soup": ["-p", "weights=1,2,3"], "slerp": ["-p", "tau=0.3"]}
MERGEKIT = {
    "soup": ("linear", {}, lambda i: {"weight": i + 1.0}),
    "slerp": ("slerp", {"t": 0.3}, lambda i: {}),
    "task": ("task_arithmetic", {}, lambda i: {"weight": 1 / 3}),
    "ties": ("ties", {}, lambda i: {"weight": 1.0, "density": 0.1}),
    "dare": ("dare_linear", {}, lambda i: {"weight": 1 / 3, "density": 0.5}),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("kind", choices=METHODS)
    parser.add_argument("runs", nargs="?", type=int, default=5)
    parser.add_argument("--methods", type=lambda text: text.split(","))
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--mergekit", default="")
    parser.add_argument("--peer-runs", type=int)
    return parser.parse_args()


def models_of(options: argparse.Namespace, method: str) -> list[str]:
    count = 5 if options.kind == "bert" else 2 if method == "slerp" else 3
    return [str(options.inputs / f"{options.kind}-{i}") for i in range(1, count + 1)]


def mergekit_config(options: argparse.Namespace, method: str, base: str, models: list[str]) -> Path:
    """YAML is a superset of JSON."""
    name, overall, each = MERGEKIT[method]
    config = {"merge_method": name, "dtype": "bfloat16", "parameters": overall,
              "models": [{"model": m, "parameters": each(i)} for i, m in enumerate(models)]}
    if method in NEEDS_BASE or method == "slerp":
        config["base_model"] = base if method in NEEDS_BASE else models[0]
    path = options.inputs / "mergekit.json"
    path.write_text(json.dumps(config))
    return path


def peer_command(options: argparse.Namespace, method: str, out: Path, base: str,
                 models: list[str]) -> list[str] | None:
    if options.no_peer:
        return None
    if options.kind == "llama" and options.mergekit:
        tool = str(Path(options.mergekit).parent / "mergekit-yaml")
        return [tool, str(mergekit_config(options, method, base, models)), str(out),
                "--no-copy-tokenizer"]
    if options.kind == "bert" and method in TORCH and find_spec("torch"):
        return [sys.executable, str(HERE / "peer.py"), method, str(out), base, *models]
    return None


def commands(options: argparse.Namespace, method: str, out: Path) -> dict[str, list[str]]:
    models, base = models_of(options, method), str(options.inputs / f"{options.kind}-0")
    files = [f"{m}/model.safetensors" for m in models + [base] * (method in NEEDS_BASE)]
    settings = SETTINGS.get(method, []) if options.kind == "llama" else []
    ours = [str(options.build / "mergecraft"), "merge", method, *models, "-o", str(out), "-q",
            *settings]
    ours += ["--base", base] if method in NEEDS_BASE else []
    all_of_them = {
        "floor": [str(options.build / "bench" / "floor"), str(out), str(os.path.getsize(files[0])),
                  *files],
        "ours": [*ours, "--no-sync"],
        "synced": ours,
        "peer": peer_command(options, method, out, base, models),
    }
    return {name: command for name, command in all_of_them.items() if command}


def measure(options: argparse.Namespace, method: str) -> None:
    out = options.inputs / "out"
    costs: dict[str, list[Cost]] = {}
    all_of_them = commands(options, method, out)
    for turn in range(options.runs):
        for name, command in all_of_them.items():
            if name != "peer" or options.peer_runs is None or turn < options.peer_runs:
                costs.setdefault(name, []).append(run(command, out))
                if name == "peer":
                    run(all_of_them["floor"], out)
    seconds = {name: statistics.median(c.seconds for c in found) for name, found in costs.items()}
    resident = {name: max(c.resident for c in found) / 1e6 for name, found in costs.items()}
    private = {name: max(c.private for c in found) / 1e6 for name, found in costs.items()}
    ours, floor, peer = seconds["ours"], seconds["floor"], seconds.get("peer")
    row([method, f"{floor:.2f}", f"{ours:.2f}", f"{ours / floor:.2f}", f"{seconds['synced']:.2f}",
         f"{peer:.1f}" if peer else "–", f"{peer / ours:.1f}" if peer else "–",
         f"{resident['ours']:.0f}",
         f"{resident['peer']:.0f}, {private['peer']:.0f}" if peer else "–"])
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)


def main() -> None:
    options = arguments()
    peer = "torch" if options.kind == "bert" else "mergekit"
    table(["method", "floor s", "ours s", "× floor", "ours, synced s", f"{peer} s",
           f"{peer} / ours", "ours MB",
           f"{peer} MB resident, private"])
    for method in options.methods or METHODS[options.kind]:
        measure(options, method)


main()
