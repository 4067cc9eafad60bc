"""How long a data set of QQP's size takes to load, in each form, and pyarrow for Parquet: medians.

    bench/glue.py LIBRARY FOLDER [RUNS]      needs pyarrow; writes the files into FOLDER, about
    250 MB
"""

import ctypes
import csv
import json
import random
import statistics
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LIBRARY, FOLDER, RUNS = ctypes.CDLL(str(Path(sys.argv[1]).resolve())), Path(sys.argv[2]), int((
    sys.argv + [7])[3])
LIBRARY.mc_glue_task_find.restype = ctypes.c_void_p
LIBRARY.mc_glue_load.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p,
                                 ctypes.c_void_p]
LIBRARY.mc_glue_count.argtypes = LIBRARY.mc_glue_data_free.argtypes = [ctypes.c_void_p]
ROWS = 400_000


def write_files() -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9)))
             for _ in range(20000)]
    question = lambda: " ".join(draw.choices(words, k=draw.randint(5, 16))) + "?"
    rows = [(question(), question(), draw.randint(0, 1), i) for i in range(ROWS)]
    names = ["question1", "question2", "label", "idx"]
    table = pa.table(dict(zip(names, map(list, zip(*rows)))))
    for codec in ["none", "snappy", "gzip", "zstd"]:
        pq.write_table(table, FOLDER / f"{codec}.parquet", compression=codec)
    with open(FOLDER / "x.tsv", "w") as tsv, open(FOLDER / "x.csv", "w") as comma, open(FOLDER
            / "x.jsonl", "w") as lines:
        tsv.write("\t".join(names) + "\n" + "".join("\t".join(map(str, row)) + "\n"
                                                    for row in rows))
        csv.writer(comma, quoting=csv.QUOTE_NONNUMERIC).writerows([names, *rows])
        lines.writelines(json.dumps(dict(zip(names, row))) + "\n" for row in rows)


def load(path: Path) -> None:
    data = ctypes.c_void_p()
    task = LIBRARY.mc_glue_task_find(b"qqp")
    assert LIBRARY.mc_glue_load(task, str(path).encode(), None, ctypes.byref(data), None) == 0
    assert LIBRARY.mc_glue_count(data) == ROWS
    LIBRARY.mc_glue_data_free(data)


def median(function, *arguments, **options) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        function(*arguments, **options)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


FOLDER.mkdir(parents=True, exist_ok=True)
if not (FOLDER / "x.jsonl").exists():
    write_files()
for path in sorted(FOLDER.iterdir()):
    ours = median(load, path)
    line = f"{path.name:15} {path.stat().st_size / 1e6:6.1f} MB {ours:6.3f} s"
    if path.suffix == ".parquet":
        line += f"   pyarrow, one thread {median(pq.read_table, path, use_threads=False):6.3f} s"
    print(line, flush=True)
