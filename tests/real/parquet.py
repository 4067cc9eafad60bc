"""Parquet files that pyarrow and duckdb write, with every option that changes them, read by the
library: the same rows.

parquet.py LIBRARY [DATA]: DATA is a folder of real files, if it is there: its TASK/*.parquet are
read too.
"""

import ctypes
import itertools
import math
import random
import sys
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

LIBRARY = ctypes.CDLL(str(Path(sys.argv[1]).resolve()))
WORK = Path(tempfile.mkdtemp(prefix="mergecraft-parquet-"))
RNG = random.Random(1)
passed, failed = 0, []


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("hint", ctypes.c_int), ("offset", ctypes.c_int64),
                ("token", ctypes.c_uint64), ("file", ctypes.c_char * 1024),
                ("tensor", ctypes.c_char * 256), ("text", ctypes.c_char * 4096)]


class Example(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pair", ctypes.c_void_p),
                ("pair_size", ctypes.c_size_t), ("label", ctypes.c_double),
                ("index", ctypes.c_int64)]


LIBRARY.mc_glue_task_find.restype = ctypes.c_void_p
LIBRARY.mc_glue_task_find.argtypes = [ctypes.c_char_p]
LIBRARY.mc_glue_load.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p,
                                 ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(Error)]
LIBRARY.mc_glue_count.restype = ctypes.c_size_t
LIBRARY.mc_glue_count.argtypes = [ctypes.c_void_p]
LIBRARY.mc_glue_example_at.restype = Example
LIBRARY.mc_glue_example_at.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBRARY.mc_glue_data_free.argtypes = [ctypes.c_void_p]


class Refused(Exception):
    pass


def load(task: str, path: Path) -> list[tuple]:
    data, error = ctypes.c_void_p(), Error()
    found = LIBRARY.mc_glue_task_find(task.encode())
    if LIBRARY.mc_glue_load(found, str(path).encode(), None, ctypes.byref(data),
                            ctypes.byref(error)):
        raise Refused(error.text.decode("utf-8", "replace"))
    rows = []
    for i in range(LIBRARY.mc_glue_count(data)):
        e = LIBRARY.mc_glue_example_at(data, i)
        rows.append((ctypes.string_at(e.text, e.size), ctypes.string_at(e.pair, e.pair_size),
                     None if math.isnan(e.label) else e.label, e.index))
    LIBRARY.mc_glue_data_free(data)
    return rows


def as_bytes(value) -> bytes:
    return value.encode() if isinstance(value, str) else value


def rows_of(table: pa.Table, task: str, names=("sentence1", "sentence2")) -> list[tuple]:
    """What is to be read, from the table that was written."""
    classes = {"rte": ["entailment", "not_entailment"]}.get(task, [])
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    rows = []
    for i in range(table.num_rows):
        label = columns["label"][i] if "label" in columns else None
        label = classes.index(label) if isinstance(label, str) else label
        label = None if label is None or label == -1 else float(label)
        index = columns["idx"][i] if "idx" in columns else i
        rows.append((as_bytes(columns[names[0]][i]), as_bytes(columns[names[1]][i]), label, index))
    return rows


def check(name: str, path: Path, expected: list[tuple], task: str = "rte") -> None:
    global passed
    try:
        found = load(task, path)
        good = found == expected
        detail = "" if good else f"{len(found)} rows, " + str(
            next(((a, b) for a, b in zip(found, expected) if a != b), "first rows the same"))
    except Refused as refused:
        good, detail = False, str(refused)
    passed += good
    if not good:
        failed.append(name)
        print(f"FAIL {name}: {detail}", flush=True)


def refuse(name: str, path: Path, words: str) -> None:
    global passed
    try:
        load("rte", path)
        found = "it was read"
    except Refused as refused:
        found = str(refused)
    passed += words in found
    if words not in found:
        failed.append(name)
        print(f"FAIL {name}: expected '{words}', found '{found}'", flush=True)


# ---- tables ----

WORDS = ["a", "man", "sleeps", "é", "日本", "😀", '"quoted"', "tab\there", "line\nend", ""]


def sentence(words: int = 12) -> str:
    return " ".join(RNG.choice(WORDS) for _ in range(RNG.randint(0, words)))


def table(rows: int, text=pa.string(), label=pa.int64(), index=pa.int32(), nulls: float = 0,
          repeats: bool = False):
    few = [sentence() for _ in range(5)]
    pick = (lambda: RNG.choice(few)) if repeats else sentence
    names = ["entailment", "not_entailment"]
    text_labels = pa.types.is_string(label) or pa.types.is_dictionary(label)
    labels = [None if RNG.random() < nulls else RNG.randint(0, 1) for _ in range(rows)]
    if text_labels:
        labels = [None if l is None else names[l] for l in labels]
    elif pa.types.is_boolean(label):
        labels = [None if l is None else bool(l) for l in labels]
    texts = [[pick() for _ in range(rows)] for _ in range(2)]
    if pa.types.is_binary(text) or pa.types.is_large_binary(text):
        texts = [[t.encode() + b"\xff\x00" for t in column] for column in texts]
    return pa.table({
        "sentence1": pa.array(texts[0], text), "sentence2": pa.array(texts[1], text),
        "label": pa.array(labels, label), "idx": pa.array(RNG.sample(range(10**6), rows), index)})


def write(t: pa.Table, name: str, **options) -> Path:
    path = WORK / f"{name}.parquet"
    pq.write_table(t, path, **options)
    return path


def pyarrow_layouts() -> None:
    """Codec, page version, dictionary, checksums, sizes of row groups and pages, nulls."""
    choices = itertools.product(
        ["none", "snappy", "gzip", "zstd"], ["1.0", "2.0"], [False, True], [0, 0.3],
        [(50, 64), (7, 2**20), (10**6, 2**20)])
    for codec, version, dictionary, nulls, (group, page) in choices:
        t = table(120, nulls=nulls, repeats=dictionary)
        name = f"layout-{codec}-{version}-{dictionary}-{nulls}-{group}-{page}"
        path = write(t, name, compression=codec, data_page_version=version,
                     use_dictionary=dictionary,
                     row_group_size=group, data_page_size=page, write_batch_size=10,
                     write_page_checksum=dictionary, write_page_index=dictionary)
        check(name, path, rows_of(t, "rte"))


def pyarrow_types() -> None:
    texts = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view(),
             pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string())]
    labels = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
              pa.uint64(),
              pa.float32(), pa.float64(), pa.bool_(), pa.string(),
              pa.dictionary(pa.int8(), pa.string())]
    for text, label, version in itertools.product(texts, labels, ["1.0", "2.0"]):
        t = table(60, text=text, label=label, nulls=0.2)
        name = f"types-{texts.index(text)}-{label}-{version}".replace("<", "_").replace(" ", "")
        check(name, write(t, name, data_page_version=version), rows_of(t, "rte"))
    for index in [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint32()]:
        largest = min(2 ** (index.bit_width - (not str(index).startswith("u"))) - 1, 2**63 - 1)
        t = table(50).set_column(3, "idx", pa.array(range(largest - 49, largest + 1), index))
        check(f"index-{index}", write(t, f"index-{index}"), rows_of(t, "rte"))


def pyarrow_encodings() -> None:
    encodings = {
        "text": ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"],
        "int": ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
        "bool": ["PLAIN", "RLE"],
        "float": ["PLAIN", "BYTE_STREAM_SPLIT"],
    }
    kinds = {"int": [pa.int32(), pa.int64()], "bool": [pa.bool_()],
             "float": [pa.float32(), pa.float64()]}
    for kind, types in kinds.items():
        for text, label, type_ in itertools.product(encodings["text"], encodings[kind], types):
            for version, rows, nulls in itertools.product(["1.0", "2.0"], [0, 1, 31, 129, 1000],
                                                          [0, 0.5]):
                t = table(rows, label=type_, nulls=nulls)
                name = f"encoding-{text}-{label}-{type_}-{version}-{rows}-{nulls}"
                path = write(t, name, use_dictionary=False, data_page_version=version,
                             compression="zstd",
                             column_encoding={"sentence1": text, "sentence2": text, "label": label,
                                              "idx": "PLAIN"})
                check(name, path, rows_of(t, "rte"))
    for rows in [1, 2, 128, 129, 1025, 5000]:  # differences of every size
        values = [RNG.randint(-2 ** RNG.randint(1, 62), 2 ** RNG.randint(1, 62))
                  for _ in range(rows)]
        t = table(rows).set_column(3, "idx", pa.array(values, pa.int64()))
        path = write(t, f"deltas-{rows}", use_dictionary=False,
                     column_encoding={"sentence1": "PLAIN", "sentence2": "PLAIN", "label": "PLAIN",
                                      "idx": "DELTA_BINARY_PACKED"})
        check(f"deltas-{rows}", path, rows_of(t, "rte"))


def pyarrow_schemas() -> None:
    t = table(40)
    required = pa.schema([pa.field(f.name, f.type, nullable=False) for f in t.schema])
    for version in ["1.0", "2.0"]:
        name = f"required-{version}"
        check(name, write(t.cast(required), name, data_page_version=version), rows_of(t, "rte"))
    for version in ["1.0", "2.4", "2.6"]:
        check(f"format-{version}", write(t, f"format-{version}", version=version),
              rows_of(t, "rte"))
    check("shuffled", write(t.select(["idx", "label", "sentence2", "sentence1"]), "shuffled"),
          rows_of(t, "rte"))
    check("no index", write(t.drop_columns("idx"), "no-index"),
          rows_of(t.drop_columns("idx"), "rte"))
    check("no label", write(t.drop_columns("label"), "no-label"),
          rows_of(t.drop_columns("label"), "rte"))
    check("no rows", write(t.slice(0, 0), "no-rows"), [])
    unlabelled = t.set_column(2, "label", pa.array([-1] * 40))
    check("unlabelled", write(unlabelled, "unlabelled"), rows_of(unlabelled, "rte"))
    nothing = t.set_column(2, "label", pa.array([None] * 40, pa.int64()))
    check("all null", write(nothing, "all-null"), rows_of(nothing, "rte"))
    # Other columns may be anything.
    more = {"list": pa.array([[1, 2], [], None, [3]] * 10),
            "struct": pa.array([{"a": 1, "b": {"c": "x"}}] * 40),
            "map": pa.array([[("k", 1)]] * 40, pa.map_(pa.string(), pa.int64())),
            "time": pa.array([0] * 40, pa.timestamp("us")),
            "fixed": pa.array([b"abcd"] * 40, pa.binary(4)), "null": pa.nulls(40)}
    for at in [0, 2, 4]:
        wide = t
        for name, column in more.items():
            wide = wide.add_column(at, name, column)
        check(f"other columns {at}", write(wide, f"wide-{at}"), rows_of(t, "rte"))
    scores = pa.table({"sentence1": t["sentence1"], "sentence2": t["sentence2"],
                       "label": pa.array([RNG.random() * 5 for _ in range(40)], pa.float32()),
                       "idx": t["idx"]})
    check("stsb", write(scores, "stsb"), rows_of(scores, "stsb"), "stsb")


def pyarrow_refused() -> None:
    t = table(20)
    for codec in ["brotli", "lz4"]:
        refuse(codec, write(t, codec, compression=codec), "LZ4" if codec == "lz4" else "Brotli")
    for name, column in {
        "struct": pa.array([{"a": "x"}] * 20), "list": pa.array([["x"]] * 20),
    }.items():
        refuse(name, write(t.set_column(0, "sentence1", column), name), "is nested")
    refuse("fixed", write(t.set_column(0, "sentence1", pa.array([b"abcd"] * 20, pa.binary(4))),
                          "fixed"),
           "FIXED_LEN_BYTE_ARRAY")
    dates = t.set_column(2, "label", pa.array([0] * 20, pa.timestamp("ns")))
    refuse("INT96", write(dates, "int96", use_deprecated_int96_timestamps=True), "INT96")
    refuse("timestamp", write(dates, "timestamp"), "a date, a time")
    refuse("text null", write(t.set_column(0, "sentence1", pa.array(["x"] * 19 + [None])),
                              "text-null"),
           "row 20: column 'sentence1': expected a text, found null")
    refuse("label 2", write(t.set_column(2, "label", pa.array([0] * 7 + [2] + [1] * 12)),
                            "label-2"),
           "row 8: column 'label'")
    refuse("missing", write(t.drop_columns("sentence2"), "missing"),
           "found 'sentence1', 'label', 'idx'")


def duckdb_files() -> None:
    base = duckdb.connect()
    base.execute("PRAGMA add_parquet_key('key', '0123456789012345')")
    choices = itertools.product(["uncompressed", "snappy", "gzip", "zstd"], ["V1", "V2"],
                                [2048, 5000],
                                [1, 10**6], [0, 0.2])
    for codec, version, group, dictionary, nulls in choices:
        # noqa: F841: duckdb finds it by its name
        t = table(6000, nulls=nulls, repeats=dictionary > 1)
        name = f"duckdb-{codec}-{version}-{group}-{dictionary}-{nulls}"
        path = WORK / f"{name}.parquet"
        base.execute(f"COPY t TO '{path}' (FORMAT parquet, CODEC {codec}, PARQUET_VERSION "
                     f"{version}, "
                     f"ROW_GROUP_SIZE {group}, DICTIONARY_SIZE_LIMIT {dictionary})")
        check(name, path, rows_of(t, "rte"))
    for type_ in ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "UBIGINT", "FLOAT",
                  "DOUBLE", "BOOLEAN"]:
        for version in ["V1", "V2"]:
            t = table(3000, nulls=0.1)
            path = WORK / f"duckdb-{type_}-{version}.parquet"
            base.execute(f"COPY (SELECT * REPLACE (label::{type_} AS label) FROM t) TO '{path}' "
                         f"(FORMAT parquet, PARQUET_VERSION {version})")
            check(f"duckdb-{type_}-{version}", path, rows_of(t, "rte"))
    t = table(10)
    path = WORK / "enum.parquet"
    base.execute("CREATE TYPE verdict AS ENUM ('entailment', 'not_entailment')")
    base.execute(f"COPY (SELECT * REPLACE (['entailment', 'not_entailment'][label + 1]::verdict AS "
                 f"label) FROM t) "
                 f"TO '{path}' (FORMAT parquet)")
    check("duckdb-enum", path, rows_of(t, "rte"))
    for codec, words in {"brotli": "Brotli", "lz4_raw": "LZ4"}.items():
        path = WORK / f"duckdb-{codec}.parquet"
        base.execute(f"COPY t TO '{path}' (FORMAT parquet, CODEC {codec})")
        refuse(f"duckdb-{codec}", path, words)
    path = WORK / "encrypted.parquet"
    base.execute("SET force_mbedtls_unsafe = 'true'")
    base.execute(f"COPY t TO '{path}' (FORMAT parquet, ENCRYPTION_CONFIG {{footer_key: 'key'}})")
    refuse("duckdb-encrypted", path, "encrypted")


def real_files(folder: Path) -> None:
    for path in sorted(folder.glob("*/*.parquet")):
        check(str(path), path, rows_of(pq.read_table(path), path.parent.name), path.parent.name)


pyarrow_layouts()
pyarrow_types()
pyarrow_encodings()
pyarrow_schemas()
pyarrow_refused()
duckdb_files()
if len(sys.argv) > 2:
    real_files(Path(sys.argv[2]))
for path in WORK.iterdir():
    path.unlink()
WORK.rmdir()
print(f"{passed} of {passed + len(failed)} Parquet files as expected")
sys.exit(bool(failed))
