"""`mergecraft compare` of three checkpoints against the floor: reading them once on one thread
(floor.c).

compare.py BUILD INPUTS [--runs N]    INPUTS: the folder of make_inputs.py, with llama-0 to llama-2

Files in the page cache; floor and compare in turn; medians. `cpu` is processor time divided by the
number of threads: what compare takes on a machine with nothing else to do.
"""

import argparse
import os
import resource
import statistics
import subprocess
import time
from pathlib import Path

import measure


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall and processor time of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if code not in (0, 1):  # 1: the models differ
        raise SystemExit(f"failed: {' '.join(command)}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    models = [str(options.inputs / f"llama-{i}") for i in range(3)]
    files = [f"{model}/model.safetensors" for model in models]
    compare = [str(options.build / "mergecraft"), "compare", "--by", "total", "-q"]
    jobs = {"floor": [str(options.build / "bench" / "floor"), "/dev/null", "0", *files],
            "with a base": [*compare, *models[1:], "--base", models[0]],
            "without": [*compare, *models]}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for run in range(options.runs + 1):
        for name, command in jobs.items():
            cost = seconds(command)
            if run > 0:  # the first one fills the page cache
                costs[name].append(cost)
    threads = len(os.sched_getaffinity(0))
    floor = statistics.median(wall for wall, _ in costs["floor"])
    measure.table(["job", "wall s", "cpu s / threads", "wall / floor", "cpu / floor"])
    for name, taken in costs.items():
        wall = statistics.median(w for w, _ in taken)
        cpu = statistics.median(c for _, c in taken) / (1 if name == "floor" else threads)
        measure.row([name, f"{wall:.2f}", f"{cpu:.2f}", f"{wall / floor:.2f}",
                     f"{cpu / floor:.2f}"])


if __name__ == "__main__":
    main()
