"""What the command costs besides merging: how long it takes to start, and what a method of one's
own costs against the built-in.

command.py BUILD_DIR INPUTS [RUNS] [--mergekit PYTHON]    INPUTS: a folder that make_inputs.py
filled with bert-0 … bert-5

Whole processes, in turn, medians of RUNS runs (11). The `.c` files are compiled once before they
are measured.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from measure import row, run, table

BUILD, INPUTS = Path(sys.argv[1]), Path(sys.argv[2])
RUNS = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3].isdigit() else 11
MERGEKIT = sys.argv[sys.argv.index("--mergekit") + 1] if "--mergekit" in sys.argv else ""
OWN = {
    "soup": """#include <mergecraft/method.h>
MC_LAYER_MERGE(own, .help = "mean", .scope = MC_ELEMENTWISE)
{
    for (size_t i = 0; i < layer->count; i++) {
        mc_real sum = 0;
        for (size_t m = 0; m < layer->model_count; m++)
            sum += layer->models[m][i];
        layer->out[i] = sum / (mc_real)layer->model_count;
    }
    return MC_OK;
}
""",
    "median": """#include <mergecraft/method.h>
MC_LAYER_MERGE(own, .help = "median", .scope = MC_ELEMENTWISE)
{
    mc_tile_median(layer->out, layer->models, layer->model_count, layer->count);
    return MC_OK;
}
""",
    "task": """#include <mergecraft/method.h>
MC_LAYER_MERGE(own, .help = "base plus the mean task vector", .scope = MC_ELEMENTWISE,
               .needs_base = true)
{
    for (size_t i = 0; i < layer->count; i++) {
        mc_real sum = 0;
        for (size_t m = 0; m < layer->model_count; m++)
            sum += layer->models[m][i] - layer->base[i];
        layer->out[i] = layer->base[i] + sum / (mc_real)layer->model_count;
    }
    return MC_OK;
}
""",
}


def in_turn(commands: dict[str, list[str]], out: Path, runs: int = RUNS) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            seconds[name].append(run(command, out).seconds)
    return {name: statistics.median(found) for name, found in seconds.items()}


def own_methods(folder: Path) -> None:
    models = [str(INPUTS / f"bert-{i}") for i in range(1, 6)]
    table(["method", "built-in s", "own .c s", "own / built-in"])
    for method, text in OWN.items():
        source, out = folder / f"{method}.c", folder / "out"
        source.write_text(text)
        base = ["--base", str(INPUTS / "bert-0")] if "needs_base" in text else []
        def merge(name: str) -> list[str]:
            return [str(BUILD / "mergecraft"), "merge", name, *models, *base, "-o", str(out), "-q",
                    "--no-sync"]
        run(merge(str(source)), out)
        seconds = in_turn({"built-in": merge(method), "own": merge(str(source))}, out)
        row([method, f"{seconds['built-in']:.3f}", f"{seconds['own']:.3f}",
             f"{seconds['own'] / seconds['built-in']:.2f}"])


def starting(folder: Path) -> None:
    tool = str(BUILD / "mergecraft")
    seconds = in_turn({"--help": [tool, "--help"], "methods": [tool, "methods"]}, folder / "none",
                      5 * RUNS)
    if MERGEKIT:
        peer = str(Path(MERGEKIT).parent / "mergekit-yaml")
        seconds |= in_turn({"mergekit-yaml --help": [peer, "--help"]}, folder / "none", 3)
    table(["command", "ms"])
    for name, value in seconds.items():
        row([name, f"{value * 1000:.1f}"])


def main() -> None:
    with tempfile.TemporaryDirectory(dir=INPUTS) as folder:
        starting(Path(folder))
        print()
        own_methods(Path(folder))


main()
