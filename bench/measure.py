"""Runs one process at a time and says what it took: seconds, and the most resident and private
memory."""

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    seconds: float
    resident: int  # bytes at the peak, pages of mapped files included
    private: int   # bytes at the peak that are the process's own; sampled
    cpu: float     # seconds of all its threads


def private_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines()
               if line.startswith("Private_"))


def run(command: list[str], out: Path, sample: float = 0.1,
        environment: dict[str, str] | None = None) -> Cost:
    """One process that writes the folder or file `out`, which is removed first. `sample`:
    seconds between looks at its memory."""
    if out.is_dir():
        shutil.rmtree(out)
    out.unlink(missing_ok=True)
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    private, ended = 0, threading.Event()
    start = time.monotonic()
    pid = os.posix_spawnp(command[0], command, environment or dict(os.environ), file_actions=quiet)

    def watch() -> None:
        nonlocal private
        while not ended.wait(sample):
            private = max(private, private_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - start
    ended.set()
    watcher.join()
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return Cost(seconds, usage.ru_maxrss * 1024, private, usage.ru_utime + usage.ru_stime)


def table(columns: list[str]) -> None:
    print(f"| {' | '.join(columns)} |")
    print(f"|{'---|' * len(columns)}", flush=True)


def row(cells: list[object]) -> None:
    print(f"| {' | '.join(str(c) for c in cells)} |", flush=True)
