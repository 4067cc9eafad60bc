"""What several processes cost on one machine: the command with two threads, mergecraft-mpi as one
process with two threads, and as two with one thread each.

processes.py BUILD_DIR INPUTS KIND [RUNS] [METHOD...]

INPUTS: the folder that make_inputs.py filled with three models of KIND, numbered from 0. Whole
commands, mpirun included, files in the page cache, in turn; medians of RUNS (5) runs. The ratio is
that of two processes to one process.
"""

import os
import statistics
import sys
from pathlib import Path

from measure import row, run, table

ALLOWED = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def main() -> None:
    build, inputs, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    out = inputs / "merged"
    models = [str(inputs / f"{kind}-{i}") for i in range(3)]
    table(["method", "command (s)", "one process (s)", "two processes (s)", "ratio"])
    for method in sys.argv[5:] or ["soup", "ties"]:
        base = ["--base", models[0]] if method == "ties" else []
        merge = ["merge", method, *models[1 if base else 0:], *base, "-q", "--no-sync", "-o",
                 str(out), "--threads"]
        by_mpi = ["mpirun", "--bind-to", "none", "-n"]
        several = str(build / "mergecraft-mpi")
        sides = [[str(build / "mergecraft"), *merge, "2"], [*by_mpi, "1", several, *merge, "2"],
                 [*by_mpi, "2", several, *merge, "1"]]
        seconds = [[run(command, out, environment=os.environ | ALLOWED).seconds
                    for command in sides] for _ in range(runs + 1)]
        # The first turn fills the page cache.
        command, one, two = (statistics.median(side) for side in zip(*seconds[1:]))
        row([method, f"{command:.2f}", f"{one:.2f}", f"{two:.2f}", f"{two / one:.2f}"])


main()
