"""How fast encoders are: against oneDNN's products alone, and against others that compute the same.

encoder.py BUILD_DIR MODEL DATA [--peers PYTHON] [--lengths]

MODEL: a folder with BERT-base's config.json and weights (any: make_inputs.py). DATA: a Parquet
file with sentence1, sentence2 (GLUE's RTE validation split: 277 pairs). Needs transformers and
pyarrow; PYTHON has torch, transformers, onnxruntime and ctranslate2. Token ids are made once;
everybody starts with them. Two threads, one process after the other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

HERE = Path(__file__).parent


def write_ids(path: Path, ids: list[list[int]], types: list[list[int]]) -> None:
    words = [len(ids), *map(len, ids), *(i for s in ids for i in s), *(t for s in types for t in s)]
    numpy.array(words, numpy.int32).tofile(path)


def pairs(data: str, tokenizer: str) -> tuple[list[list[int]], list[list[int]]]:
    import pyarrow.parquet
    from transformers import AutoTokenizer

    table = pyarrow.parquet.read_table(data).to_pydict()
    coded = AutoTokenizer.from_pretrained(tokenizer)(table["sentence1"], table["sentence2"],
                                                     truncation=True)
    order = sorted(range(len(coded["input_ids"])), key=lambda i: len(coded["input_ids"][i]))
    return [coded["input_ids"][i] for i in order], [coded["token_type_ids"][i] for i in order]


def flops(config: dict, lengths: list[int]) -> float:
    """Multiplications and additions of the products for the tokens that are there, and of
    attention; as if nothing were left out."""
    width, wide, layers = config["hidden_size"], config["intermediate_size"], config[
        "num_hidden_layers"]
    tokens = sum(lengths)
    products = 2 * tokens * (4 * width * width + 2 * width * wide)
    attention = sum(4 * n * n * width for n in lengths)
    return layers * (products + attention)


def output(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(c) for c in command], env={**os.environ, **environment}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        return ""
    return done.stdout.strip().splitlines()[-1]


def product_speed(build: Path, dtype: str) -> float:
    return float(output(build / "bench" / "product", dtype, OMP_NUM_THREADS="2"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data")
    parser.add_argument("--tokenizer")
    parser.add_argument("--peers")
    parser.add_argument("--kinds", default="single,batches,bf16,onnx,ct2-float32,ct2-int8")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--lengths", action="store_true")
    a = parser.parse_args()
    work = a.work or Path(tempfile.mkdtemp())
    config = json.loads((a.model / "config.json").read_text())
    config = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, **config}
    bench = a.build / "bench" / "bench_encoder"

    file = work / "rte.ids"
    ids, types = pairs(a.data, a.tokenizer or str(a.model))
    write_ids(file, ids, types)
    work_done = flops(config, [len(s) for s in ids])
    print(f"{len(ids)} sequences, {sum(map(len, ids))} tokens, {work_done / 1e12:.2f} TFLOP")
    for dtype in ("f32", "bf16", "int8"):
        before = product_speed(a.build, dtype)
        ours = json.loads(output(bench, a.model, file, dtype, 2, 3) or "{}")
        if not ours:
            print(f"{dtype}: not on this machine")
            continue
        speed = (before + product_speed(a.build, dtype)) / 2
        whole = ours["load"] + ours["run"]
        share = work_done / whole / 1e9 / speed
        print(f"ours {dtype}: {json.dumps(ours)} products {speed:.0f} GFLOP/s, load and run "
              f"{100 * share:.0f} % of that")
    for kind in a.kinds.split(",") if a.peers else ():
        line = output(a.peers, HERE / "encoder_peer.py", kind, a.model, file, work)
        began = time.monotonic()
        output(a.peers, HERE / "encoder_peer.py", kind, a.model, file, work, "--once")
        seconds = time.monotonic() - began
        print(f"{kind}: {line or 'failed'} whole process, one run: {seconds:.1f} s", flush=True)
    if a.lengths:
        for length in (8, 16, 32, 64, 128, 256, 512):
            for count in (1, 8, 64):
                one = numpy.random.default_rng(0).integers(0, 1000, (count, length)).tolist()
                write_ids(work / "some.ids", one, [[0] * length] * count)
                line = output(bench, a.model, work / "some.ids", "f32", 2,
                              5 if count * length < 4096 else 1)
                print(f"length {length}, sequences {count}: "
                      f"{json.loads(line)['tokens_per_second']:.0f} tokens/s", flush=True)


main()
