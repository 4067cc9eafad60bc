#!/usr/bin/env python3
"""How fast a file comes from a Hub on the loopback interface: `mergecraft download`, which
checks its sha256, against `curl -o`.

hub.py MERGECRAFT DIR [--gigabytes 1] [--runs 5]     DIR: a folder on a file system with room for
twice the file
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/hub"))


def timed(command: list[str], env: dict[str, str]) -> tuple[float, int]:
    """Seconds, and the largest resident memory in KB."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, env=env)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.perf_counter() - begin, usage.ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    root, home = options.folder / "root", options.folder / "home"
    file = root / "org/large/model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    size = int(options.gigabytes * 1e9)
    if not file.exists() or file.stat().st_size != size:
        with open(file, "wb") as out:
            for begin in range(0, size, 1 << 20):
                out.write(os.urandom(min(1 << 20, size - begin)))
    # A process of its own, so that server and client each have a processor.
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve().parent.parent / "tests/hub/server.py"),
         "--root", str(root), "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    endpoint = server.stdout.readline().strip()
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    ours, theirs, memory = [], [], 0
    for i in range(options.runs + 1):
        shutil.rmtree(home, ignore_errors=True)
        seconds, kilobytes = timed([options.command, "download", "org/large", "-q"], env)
        memory = max(memory, kilobytes)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        url = f"{endpoint}/org/large/resolve/main/model.safetensors"
        other, _ = timed(["curl", "-s", "-L", "-o", str(home / "file"), url], env)
        if i > 0:  # the first run fills caches: the server's checksum, the page cache
            ours.append(seconds)
            theirs.append(other)
    server.communicate("")
    shutil.rmtree(home, ignore_errors=True)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs))
    print(f"mergecraft download {size / statistics.median(ours) / 1e9:.2f} GB/s, curl -o "
          f"{size / statistics.median(theirs) / 1e9:.2f} GB/s, "
          f"ratio {ratio:.2f} (median of {options.runs}), largest resident memory "
          f"{memory / 1000:.0f} MB")


main()
