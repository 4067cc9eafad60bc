"""How fast merges are: against reading the inputs and writing the output, and against the same formula in torch.

merge.py BUILD_DIR INPUTS [RUNS] [--no-peer]    INPUTS: a folder that make_inputs.py filled with bert-0 … bert-5

Whole processes, files in the page cache, in turn (floor, ours, ours synced, peer) so that the machine's moods meet all of them;
medians of RUNS runs, ratios between them, the largest resident memory of each.
"""

import os
import shutil
import statistics
import sys
import time
from pathlib import Path

BUILD, INPUTS = Path(sys.argv[1]), Path(sys.argv[2])
RUNS = int(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3].isdigit() else 5
PEER = "--no-peer" not in sys.argv
HERE = Path(__file__).parent
OUT = INPUTS / "out"
NEEDS_BASE = {"task", "ties", "dare", "stock", "max_magnitude"}


def run(command: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of one process."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.parent.joinpath("floor.out").unlink(missing_ok=True)
    start = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss * 1024


def commands(method: str) -> dict[str, list[str]]:
    models = [str(INPUTS / f"bert-{i}") for i in range(1, 6)]
    base = str(INPUTS / "bert-0")
    files = [f"{m}/model.safetensors" for m in models + [base] * (method in NEEDS_BASE)]
    size = str(os.path.getsize(files[0]))
    ours = [str(BUILD / "mergecraft"), "merge", method, *models, "-o", str(OUT), "-q"]
    ours += ["--base", base] if method in NEEDS_BASE else []
    table = {
        "floor": [str(BUILD / "bench" / "floor"), str(INPUTS / "floor.out"), size, *files],
        "ours": [*ours, "--no-sync"],
        "synced": ours,
    }
    if PEER and method in ("median", "soup", "task", "ties", "dare"):
        table["peer"] = [sys.executable, str(HERE / "peer.py"), method, str(OUT), base, *models]
    return table


def measure(method: str) -> None:
    table = commands(method)
    times = {name: [] for name in table}
    peaks = dict.fromkeys(table, 0)
    for _ in range(RUNS):
        for name, command in table.items():
            seconds, peak = run(command)
            times[name].append(seconds)
            peaks[name] = max(peaks[name], peak)
    middle = {name: statistics.median(values) for name, values in times.items()}
    ours, floor, peer = middle["ours"], middle["floor"], middle.get("peer")
    cells = [method, f"{floor:.2f}", f"{ours:.2f}", f"{ours / floor:.2f}", f"{middle['synced']:.2f}"]
    cells += [f"{peer:.2f}", f"{peer / ours:.1f}"] if peer else ["–", "–"]
    cells += [f"{peaks['ours'] / 1e6:.0f}", f"{peaks['peer'] / 1e6:.0f}" if peer else "–"]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    print("| method | floor s | ours s | × floor | ours, synced s | torch s | torch / ours | ours MB | torch MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for method in ("median", "soup", "task", "stock", "ties", "dare", "max_magnitude"):
        measure(method)
    shutil.rmtree(OUT, ignore_errors=True)


main()
