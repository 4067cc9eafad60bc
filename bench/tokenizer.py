#!/usr/bin/env python3
"""Compares the speed of bench_tokenizer with the tokenizers package, on one thread, in processor
time.

    tokenizer.py BUILD DATA_DIR FOLDER...    DATA_DIR: with glue/rte; FOLDERs: with a tokenizer.json
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
import pyarrow.parquet  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

RUNS = 5


def pairs(data):
    for name in ("train", "validation"):
        table = pyarrow.parquet.read_table(os.path.join(data,
                                                        f"glue/rte/{name}.parquet")).to_pydict()
        yield from zip(table["sentence1"], table["sentence2"])


def timed(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def main():
    build, data, folders = sys.argv[1], sys.argv[2], sys.argv[3:]
    texts = list(pairs(data))
    size = sum(len(t.encode()) for pair in texts for t in pair)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(t.encode() + b"\0" for pair in texts for t in pair))
        file.flush()
        for folder in folders:
            tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            ways = {"encode": lambda: [tokenizer.encode(a, b) for a, b in texts],
                    "encode_batch": lambda: tokenizer.encode_batch(texts),
                    "encode_batch_fast": lambda: tokenizer.encode_batch_fast(texts)}
            theirs = {name: [] for name in ways}
            ours, first = [], []
            for _ in range(RUNS):
                for name, way in ways.items():
                    theirs[name].append(timed(way))
                lines = subprocess.run([os.path.join(build, "bench/bench_tokenizer"), folder,
                                        file.name, "10"],
                                       capture_output=True, text=True,
                                       check=True).stdout.split("\n")
                seconds = [float(line.split()[0]) for line in lines if line]
                first.append(seconds[0])
                ours += seconds[1:]
            best = statistics.median(ours)
            print(f"{folder}: {len(texts)} pairs, {size / 1e6:.2f} MB; ours {1e3 * best:.2f} ms "
                  f"({size / best / 1e6:.0f} MB/s), "
                  f"first time {1e3 * statistics.median(first):.2f} ms")
            for name, seconds in theirs.items():
                print(f"  {name}: {1e3 * statistics.median(seconds):.1f} ms, "
                      f"{statistics.median(seconds) / best:.1f} times ours")


main()
