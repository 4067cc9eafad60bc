"""Writes Parquet files for the tests.

    make_parquet.py        with pyarrow and duckdb

golden/               rows written by pyarrow and duckdb in several ways: GROUP_NAME.parquet has
                      the rows of GROUP.jsonl
fuzz/corpus/parquet/  files that no writer makes, assembled here byte by byte: ok_* must be read (a
                      row "a", "b", 0), bad_* must be rejected
"""

import gzip
import json
import shutil
import struct
import zlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent


CRAFTED = HERE.parents[2] / "fuzz/corpus/parquet"


# ---- golden ----

TEXTS = [
    "A man sleeps.",
    "",
    "Ein Café, 日本 😀",
    'He said "yes"\tand\nleft.',
    "A man sleeps.",
    "A man sings. " * 9,
]
ROWS = [(TEXTS[i % 6], TEXTS[i // 2 % 6], [0, 1, 1][i % 3], 100 + i) for i in range(24)]
NULLS = [(a, b, None if i % 4 == 1 else label, idx) for i, (a, b, label, idx) in enumerate(ROWS)]


def table(rows, text=pa.string(), label=pa.int64(), convert=lambda v: v, nullable=True):
    columns = list(zip(*rows))
    labels = [None if v is None else convert(v) for v in columns[2]]
    types = [text, text, label, pa.int32()]
    names = ["sentence1", "sentence2", "label", "idx"]
    arrays = [pa.array(c, t) for c, t in zip([columns[0], columns[1], labels, columns[3]], types)]
    return pa.table(arrays, pa.schema([pa.field(n, t, nullable) for n, t in zip(names, types)]))


def write_golden() -> None:
    folder = HERE / "golden"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, rows in {"rows": ROWS, "nulls": NULLS}.items():
        lines = [
            json.dumps(dict(zip(["sentence1", "sentence2", "label", "idx"], row))) for row in rows
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

    def put(name, t, **options):
        pq.write_table(t, folder / f"{name}.parquet", **options)

    names = ["entailment", "not_entailment"]
    plain = {"use_dictionary": False}
    every = ["sentence1", "sentence2", "label", "idx"]

    def encodings(text, number):
        return plain | {"column_encoding": dict(zip(every, [text, text, number, number]))}

    put("rows_snappy", table(ROWS))
    put("rows_none_v2", table(ROWS), compression="none", data_page_version="2.0")
    put(
        "rows_zstd_groups",
        table(ROWS),
        compression="zstd",
        row_group_size=7,
        write_page_checksum=True,
    )
    put("rows_required", table(ROWS, nullable=False), compression="gzip", **plain)
    put("rows_delta", table(ROWS), **encodings("DELTA_BYTE_ARRAY", "DELTA_BINARY_PACKED"))
    put(
        "rows_delta_length",
        table(ROWS, label=pa.float32()),
        **encodings("DELTA_LENGTH_BYTE_ARRAY", "BYTE_STREAM_SPLIT"),
    )
    put(
        "rows_categories",
        table(ROWS, pa.large_string(), pa.dictionary(pa.int8(), pa.string()), lambda v: names[v]),
    )
    put(
        "rows_bools",
        table(ROWS, label=pa.bool_(), convert=bool),
        data_page_version="2.0",
        **encodings("PLAIN", "PLAIN") | {"column_encoding": {"label": "RLE"}},
    )
    put("nulls_snappy", table(NULLS), data_page_size=32, write_batch_size=5)
    put(
        "nulls_v2_gzip",
        table(NULLS, label=pa.float64()),
        compression="gzip",
        data_page_version="2.0",
        write_page_checksum=True,
    )
    put("nulls_bools", table(NULLS, label=pa.bool_(), convert=bool), compression="zstd")
    put("nulls_int8", table(NULLS, pa.large_string(), pa.int8()), **plain)
    base = duckdb.connect()
    for name, rows, options in [
        ("rows_duckdb_v1", table(ROWS), "CODEC snappy, PARQUET_VERSION V1"),
        ("nulls_duckdb_v2", table(NULLS), "CODEC zstd, PARQUET_VERSION V2"),
        (
            "nulls_duckdb_v1",
            table(NULLS),
            "CODEC gzip, PARQUET_VERSION V1, DICTIONARY_SIZE_LIMIT 1",
        ),
    ]:
        base.register("source", rows)
        base.execute(f"COPY source TO '{folder}/{name}.parquet' (FORMAT parquet, {options})")


# ---- Thrift's compact protocol ----


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


class Raw(bytes):
    """A value as it is to be in the file, with its type in front."""


def encoded(value) -> tuple[int, bytes]:
    """Type and bytes of a value: bool, int, bytes, dict (fields by number), list of dicts."""
    if isinstance(value, Raw):
        return value[0], value[1:]
    if isinstance(value, bool):
        return (1 if value else 2), b""
    if isinstance(value, int):
        return (5 if -(2**31) <= value < 2**31 else 6), zigzag(value)
    if isinstance(value, bytes):
        return 8, varint(len(value)) + value
    if isinstance(value, dict):
        return 12, struct_bytes(value)
    elements = [encoded(v) for v in value]
    kind = elements[0][0] if elements else 12
    head = (
        bytes([len(elements) << 4 | kind])
        if len(elements) < 15
        else bytes([0xF0 | kind]) + varint(len(elements))
    )
    return 9, head + b"".join(e for _, e in elements)


def struct_bytes(fields: dict) -> bytes:
    out, last = b"", 0
    for number, value in fields.items():
        if value is None:
            continue
        number = 2 if number == "again" else number
        kind, data = encoded(value)
        distance = number - last
        out += (
            bytes([distance << 4 | kind]) if 0 < distance < 16 else bytes([kind]) + zigzag(number)
        )
        out, last = out + data, number
    return out + b"\0"


# ---- crafted ----

BOOLEAN, INT32, INT64, DOUBLE, TEXT = 0, 1, 2, 5, 6


def text(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(v)) + v for v in values)


def page(
    data: bytes,
    kind: int = 0,
    values: int = 1,
    encoding: int = 0,
    size: int | None = None,
    details: dict | None = None,
    stored: int | None = None,
    **more,
) -> bytes:
    """A page with its header: kind 0 data, 2 dictionary, 3 data of version 2."""
    size = len(data) if size is None else size
    plain = {
        0: {1: values, 2: encoding, 3: 3, 4: 3},
        2: {1: values, 2: encoding},
        3: {1: values, 2: 0, 3: values, 4: encoding, 5: 0, 6: 0, 7: False},
    }.get(kind, {1: values})
    header = {
        1: kind,
        2: size,
        3: len(data) if stored is None else stored,
        4: more.get("crc"),
        {0: 5, 2: 7, 3: 8}.get(kind, 6): plain | (details or {}),
    }
    return struct_bytes(header) + data


def column(pages: bytes, kind: int = TEXT, values: int = 1, dictionary: int = 0, **chunk):
    return {
        "pages": pages,
        "type": kind,
        "values": values,
        "dictionary": dictionary,
        "chunk": chunk,
    }


def parquet(
    one=None, label=None, rows=1, total=None, footer=None, group=None, schema=None, optional=False
) -> bytes:
    """A file of one row group. Dicts replace fields of the structs they are named after."""
    columns = {
        "sentence1": one or column(page(text(b"a"))),
        "sentence2": column(page(text(b"b"))),
        "label": label or column(page(struct.pack("<q", 0)), INT64),
    }
    if rows != 1 and rows < 100:
        columns["sentence2"] = column(page(text(*[b"b"] * rows), values=rows), values=rows)
        columns["label"] = label or column(page(bytes(8 * rows), values=rows), INT64, values=rows)
    body, chunks, elements = b"PAR1", [], [{4: b"schema", 5: len(columns)}]
    for name, c in columns.items():
        changes = c["chunk"]
        metadata = {
            1: c["type"],
            2: Raw(b"\x09\x15\x00"),
            4: 0,
            5: c["values"],
            6: len(c["pages"]),
            7: len(c["pages"]),
            9: len(body) + c["dictionary"],
            11: len(body) if c["dictionary"] else None,
        } | changes.get("metadata", {})
        chunks.append({2: len(body), 3: metadata} | changes.get("outer", {}))
        elements.append(
            {1: c["type"], 3: int(optional and name == "sentence1"), 4: name.encode()}
            | changes.get("element", {})
        )
        body += c["pages"]
    groups = [{1: chunks, 2: len(body), 3: rows} | (group or {})]
    end = struct_bytes(
        {1: 1, 2: schema or elements, 3: rows if total is None else total, 4: groups}
        | (footer or {})
    )
    return body + end + struct.pack("<I", len(end)) + b"PAR1"


def put(name: str, data: bytes) -> None:
    (CRAFTED / name).write_bytes(data)


def one(name: str, pages: bytes, **options) -> None:
    """A file whose first column has these pages."""
    rows = options.pop("rows", 1)
    optional = options.pop("optional", False)
    put(name, parquet(one=column(pages, values=rows, **options), rows=rows, optional=optional))


def deltas(
    *values: int, block: int = 128, parts: int = 4, widths=None, count: int | None = None
) -> bytes:
    """Differences of 0 … 255, in one block."""
    steps = [b - a for a, b in zip(values, values[1:])]
    least = min(steps, default=0)
    out = (
        varint(block)
        + varint(parts)
        + varint(len(values) if count is None else count)
        + zigzag(values[0])
    )
    if not steps:
        return out
    out += zigzag(least) + bytes(widths or [8] + [0] * (parts - 1))
    return out + bytes(s - least for s in steps).ljust(block // parts, b"\0")


def crafted_files() -> None:
    good = parquet()
    end = struct.unpack("<I", good[-8:-4])[0]
    body, footer = good[: -8 - end], good[-8 - end : -8]

    def with_footer(name, data, length=None):
        put(
            name, body + data + struct.pack("<I", len(data) if length is None else length) + b"PAR1"
        )

    put("ok_plain", good)
    put("bad_magic", b"NOPE" + good[4:])
    put("bad_empty", b"")
    put("bad_only_magic", b"PAR1")
    put("bad_encrypted_footer", b"PARE" + good[4:-4] + b"PARE")
    put("bad_cut", good[:-5])
    put("bad_cut_pages", b"PAR1" + footer + good[-8:])
    with_footer("bad_footer_length", footer, 2**31)
    with_footer("bad_footer_length_by_one", footer, end + len(body))
    with_footer("bad_footer_empty", b"")
    with_footer("bad_footer_stop", b"\0")
    with_footer("bad_footer_cut", footer[:-20])
    with_footer("bad_footer_zeros", bytes(100))
    with_footer("bad_footer_ones", b"\xff" * 100)

    # Fields that no version of Parquet has, of every type; they are passed over.
    unknown = {
        20: True,
        21: False,
        22: Raw(b"\x03\x07"),
        23: Raw(b"\x04\x08"),
        24: 5,
        25: 2**40,
        26: Raw(b"\x07" + bytes(8)),
        27: b"text",
        28: Raw(b"\x09\x21\x01\x02"),
        29: Raw(b"\x0a\x15\x02"),
        30: Raw(b"\x0b\x02\x85\x01k\x02\x01l\x04"),
        31: {1: {1: 1}},
        300: [{1: 1}] * 20,
        301: Raw(b"\x0b\x00"),
    }
    put("ok_unknown_fields", parquet(footer=unknown))
    put("bad_thrift_deep", parquet(footer={20: Raw(b"\x0c" + b"\x1c" * 1000 + b"\0" * 1001)}))
    put("bad_thrift_deep_lists", parquet(footer={20: Raw(b"\x09" + b"\x19" * 1000)}))
    put("bad_thrift_list_huge", parquet(footer={20: Raw(b"\x09\xf5" + varint(2**40))}))
    put("bad_thrift_map_huge", parquet(footer={20: Raw(b"\x0b" + varint(2**40) + b"\x55")}))
    put("bad_thrift_text_huge", parquet(footer={20: Raw(b"\x08" + varint(2**62))}))
    put("bad_thrift_varint", parquet(footer={20: Raw(b"\x06" + b"\xff" * 11)}))
    put("bad_thrift_type", parquet(footer={20: Raw(b"\x0f")}))
    put("bad_thrift_element_type", parquet(footer={20: Raw(b"\x09\x1d\x00")}))
    put("bad_thrift_double_cut", parquet(footer={20: Raw(b"\x07\x00")}))
    put("bad_thrift_field_number", parquet(footer={-5: 1}))
    put("bad_schema_text", parquet(footer={2: b"no"}))
    put("bad_schema_numbers", parquet(footer={2: [1, 2]}))
    put("bad_schema_empty", parquet(footer={2: []}))
    put("bad_schema_twice", parquet(footer={"again": [{4: b"schema", 5: 0}]}))
    put("bad_no_rows_field", parquet(footer={3: None}))
    put("bad_rows_text", parquet(footer={3: b"1"}))
    put("bad_name_number", parquet(one=column(page(text(b"a")), element={4: 7})))
    put("bad_rows_more", parquet(total=2))
    put("bad_rows_fewer", parquet(total=0))
    put("bad_rows_negative", parquet(total=-1))
    put("bad_rows_huge", parquet(total=2**40, group={3: 2**40}))
    put("bad_group_rows", parquet(group={3: 2}))
    put("bad_group_rows_negative", parquet(group={3: -1}))
    put("bad_group_without_columns", parquet(group={1: []}))
    put("bad_groups_number", parquet(footer={4: 7}))
    put("bad_encrypted_columns", parquet(footer={8: {1: {}}}))

    elements = [
        {4: b"schema", 5: 3},
        {1: TEXT, 3: 0, 4: b"sentence1"},
        {1: TEXT, 3: 0, 4: b"sentence2"},
        {1: INT64, 3: 0, 4: b"label"},
    ]
    put("bad_schema_one_more", parquet(schema=elements + [{1: INT64, 3: 0, 4: b"idx"}]))
    put(
        "bad_schema_repeated",
        parquet(schema=elements[:1] + [{1: TEXT, 3: 2, 4: b"sentence1"}] + elements[2:]),
    )
    put(
        "bad_schema_group",
        parquet(schema=[elements[0], {4: b"sentence1", 5: 1}, elements[1]] + elements[2:]),
    )
    put(
        "bad_schema_children_negative",
        parquet(schema=[elements[0], {4: b"sentence1", 5: -7}] + elements[2:]),
    )
    put(
        "bad_schema_children_huge",
        parquet(schema=[elements[0], {4: b"x", 5: 2**31 - 1}] + elements[1:]),
    )
    put(
        "bad_schema_name_twice",
        parquet(schema=elements[:2] + [{1: TEXT, 3: 0, 4: b"sentence1"}] + elements[3:]),
    )
    put(
        "bad_schema_type",
        parquet(schema=elements[:1] + [{1: 77, 3: 0, 4: b"sentence1"}] + elements[2:]),
    )
    put(
        "bad_schema_logical_decimal",
        parquet(schema=elements[:3] + [elements[3] | {10: {5: {1: 2, 2: 9}}}]),
    )
    put("bad_schema_logical_number", parquet(schema=elements[:3] + [elements[3] | {10: 5}]))

    annotated = (
        [elements[0]] + [e | {6: 0, 7: 0, 10: {1: {}}} for e in elements[1:3]] + elements[3:]
    )
    put("ok_schema_annotated", parquet(schema=annotated))
    nested = [{4: b"x", 5: 2}, {4: b"y", 5: 1}, elements[1], {4: b"z", 5: 0}]
    put("bad_schema_nested", parquet(schema=elements[:1] + nested + elements[2:]))
    put("ok_rows_in_a_byte", parquet(footer={3: Raw(b"\x03\x01")}))

    def chunk(name, **changes):
        put(name, parquet(one=column(page(text(b"a")), **changes)))

    chunk("bad_chunk_encrypted", outer={8: {1: {}}})
    chunk("bad_chunk_elsewhere", outer={1: b"other.parquet", 2: 0})
    chunk("bad_chunk_no_metadata", outer={3: None})
    chunk("bad_chunk_metadata_number", outer={3: 5})
    chunk("bad_chunk_type", metadata={1: INT64})
    chunk("bad_chunk_values", metadata={5: 2})
    chunk("bad_chunk_values_negative", metadata={5: -1})
    chunk("bad_chunk_bytes", metadata={7: 10000})
    chunk("bad_chunk_bytes_few", metadata={7: 4})
    chunk("bad_chunk_bytes_negative", metadata={7: -4})
    chunk("bad_chunk_offset_zero", metadata={9: 0})
    chunk("bad_chunk_offset_negative", metadata={9: -5})
    chunk("bad_chunk_offset_huge", metadata={9: 2**62})
    chunk("bad_chunk_codec_99", metadata={4: 99})
    chunk("bad_chunk_codec_negative", metadata={4: -2})
    chunk("bad_chunk_lzo", metadata={4: 3})
    chunk("bad_chunk_lz4", metadata={4: 5})
    chunk("ok_chunk_dictionary_zero", metadata={11: 0})
    chunk("ok_chunk_dictionary_behind", metadata={11: 50})

    a = text(b"a")
    one(
        "ok_page_crc",
        page(a, crc=zlib.crc32(a) - 2**32 if zlib.crc32(a) >= 2**31 else zlib.crc32(a)),
    )
    one("bad_page_crc", page(a, crc=12345))
    one("ok_page_index", page(b"xyz", 1) + page(a))
    one("ok_page_empty", page(b"", values=0) + page(a))
    one("bad_page_header", b"\xff" * 30)
    one("bad_page_type", page(a, 7))
    one("bad_page_no_details", struct_bytes({1: 0, 2: 5, 3: 5}) + a)
    one("bad_page_details_number", struct_bytes({1: 0, 2: 5, 3: 5, 5: 5}) + a)
    one("bad_page_size", page(a, size=6))
    one("bad_page_size_negative", page(a, size=-1))
    one("bad_page_stored_negative", page(a, stored=-1))
    one("bad_page_stored_more", page(a, stored=6))
    one("bad_page_values_more", page(text(b"a", b"b"), values=2))
    one("bad_page_values_negative", page(a, values=-1))
    one("bad_page_values_short", page(text(b"a"), values=2), rows=2)
    one("bad_page_values_missing", page(text(b"a"), values=1), rows=2)
    one("bad_page_text_long", page(struct.pack("<I", 2**32 - 1) + b"a"))
    one("bad_page_text_cut", page(b"\1\0\0"))
    one("bad_encoding_unknown", page(a, encoding=42))
    one("bad_encoding_text_packed", page(a, encoding=5))
    one("bad_encoding_text_runs", page(a, encoding=3))

    # Definition levels.
    runs = lambda *numbers: b"".join(varint(n << 1) + bytes([v]) for n, v in numbers)
    sized = lambda levels: struct.pack("<I", len(levels)) + levels
    one("ok_levels", page(sized(runs((1, 1))) + a), optional=True)
    one("ok_levels_packed", page(sized(b"\x03\x01") + a), optional=True)
    one("ok_levels_packed_long", page(sized(varint(2**40 << 1 | 1) + b"\x01") + a), optional=True)
    one("ok_levels_run_long", page(sized(varint(2**60) + b"\x01") + a), optional=True)
    one("bad_levels_null", page(sized(runs((1, 0)))), optional=True)
    one("bad_levels_value", page(sized(runs((1, 5))) + a), optional=True)
    one("bad_levels_length", page(struct.pack("<I", 100) + runs((1, 1)) + a), optional=True)
    one("bad_levels_cut", page(b"\1\0"), optional=True)
    one("bad_levels_short", page(sized(b"") + a), optional=True)
    one("bad_levels_no_value", page(sized(b"\x02") + a), optional=True)
    one("bad_levels_varint", page(sized(b"\xff" * 12) + a), optional=True)
    one("bad_levels_bit_packed", page(sized(runs((1, 1))) + a, details={3: 4}), optional=True)

    # The second version.
    one("ok_v2", page(a, 3))
    one("ok_v2_levels", page(runs((1, 1)) + a, 3, details={5: 2}), optional=True)
    one("ok_v2_statistics", page(a, 3, details={8: {1: b"a"}}))
    one("bad_v2_levels_long", page(runs((1, 1)) + a, 3, details={5: 200}), optional=True)
    one("bad_v2_levels_negative", page(runs((1, 1)) + a, 3, details={5: -2}), optional=True)
    one(
        "bad_v2_levels_beyond_size",
        page(runs((1, 1)) + a, 3, size=1, details={5: 2}),
        optional=True,
    )
    one("bad_v2_repetition", page(runs((1, 1)) + a, 3, details={6: 2}))
    one("bad_v2_rows", page(a, 3, details={3: 2}))
    one("bad_v2_nulls", page(runs((1, 1)) + a, 3, details={2: 1, 5: 2}), optional=True)
    one("bad_v2_compressed_text", page(a, 3, details={7: 5}))

    # Dictionaries.
    words = page(text(b"a", b"x"), 2, 2)
    at = len(words)
    one("ok_dictionary", words + page(b"\x01" + runs((1, 0)), encoding=8), dictionary=at)
    one(
        "ok_dictionary_old",
        page(text(b"a"), 2, 1, 2) + page(b"\x00\x02", encoding=2),
        dictionary=at - 5,
    )
    one("ok_dictionary_wide", words + page(b"\x20\x03" + bytes(32), encoding=8), dictionary=at)
    one(
        "ok_dictionary_packed_short",
        words + page(b"\x11\x03" + bytes(3), encoding=8),
        dictionary=at,
    )
    one("bad_dictionary_index", words + page(b"\x02" + runs((1, 2)), encoding=8), dictionary=at)
    one(
        "bad_dictionary_index_packed",
        words + page(b"\x20\x03" + b"\xff" * 32, encoding=8),
        dictionary=at,
    )
    one("bad_dictionary_width", words + page(b"\x21" + bytes(9), encoding=8), dictionary=at)
    one("bad_dictionary_no_width", words + page(b"", encoding=8), dictionary=at)
    one("bad_dictionary_no_indices", words + page(b"\x01", encoding=8), dictionary=at)
    one("bad_dictionary_packed_short", words + page(b"\x20\x03\x00\x00", encoding=8), dictionary=at)
    one("bad_dictionary_missing", page(b"\x01" + runs((1, 0)), encoding=8))
    one(
        "bad_dictionary_twice",
        words + words + page(b"\x01" + runs((1, 0)), encoding=8),
        dictionary=2 * at,
    )
    one(
        "bad_dictionary_count",
        page(text(b"a"), 2, 2**31 - 1) + page(b"\0\2", encoding=8),
        dictionary=20,
    )
    one(
        "bad_dictionary_count_negative",
        page(text(b"a"), 2, -1) + page(b"\0\2", encoding=8),
        dictionary=20,
    )
    one(
        "bad_dictionary_count_more",
        page(text(b"a"), 2, 3) + page(b"\0\2", encoding=8),
        dictionary=20,
    )
    one("bad_dictionary_empty", page(b"", 2, 0) + page(b"\0\2", encoding=8), dictionary=20)
    one(
        "bad_dictionary_encoding",
        page(text(b"a"), 2, 1, 8) + page(b"\0\2", encoding=8),
        dictionary=20,
    )

    # Differences.
    texts = lambda *values: deltas(*[len(v) for v in values]) + b"".join(values)
    join = lambda prefixes, *ends: deltas(*prefixes) + texts(*ends)
    one("ok_delta_length", page(texts(b"a", b"bcd", b""), values=3, encoding=6), rows=3)
    one("ok_delta_texts", page(join([0, 1, 3], b"a", b"bc", b""), values=3, encoding=7), rows=3)
    one("bad_delta_count", page(deltas(1, count=2) + b"a", encoding=6))
    one("bad_delta_block_zero", page(deltas(1, block=0) + b"a", encoding=6))
    one(
        "bad_delta_parts_zero",
        page(varint(128) + varint(0) + varint(1) + zigzag(1) + b"a", encoding=6),
    )
    one("bad_delta_parts_many", page(deltas(1, block=128, parts=128) + b"a", encoding=6))
    one(
        "bad_delta_block_huge",
        page(varint(2**40) + varint(4) + varint(1) + zigzag(1) + b"a", encoding=6),
    )
    one(
        "bad_delta_parts_huge",
        page(
            varint(2**31) + varint(2**28) + varint(2) + zigzag(1) + b"\0" + b"a",
            values=2,
            encoding=6,
        ),
        rows=2,
    )
    one(
        "bad_delta_width",
        page(deltas(1, 2, widths=[65, 0, 0, 0]) + bytes(900), values=2, encoding=6),
        rows=2,
    )
    one("bad_delta_cut", page(deltas(1, 2)[:-1], values=2, encoding=6), rows=2)
    one("bad_delta_head", page(b"\x80", encoding=6))
    one("bad_delta_no_first", page(varint(128) + varint(4) + varint(1), encoding=6))
    one("bad_delta_length_negative", page(deltas(-1) + b"a", encoding=6))
    one("bad_delta_length_more", page(deltas(2) + b"a", encoding=6))
    one("bad_delta_prefix_first", page(join([1], b"a"), encoding=7))
    one("bad_delta_prefix_more", page(join([0, 2], b"a", b"b"), values=2, encoding=7), rows=2)
    one("bad_delta_prefix_negative", page(join([-1], b"a"), encoding=7))
    # Each text is the one before and a byte more: 60 KB that would become 1.8 GB.
    count = 60000
    steady = lambda first, step: (
        varint(65536) + varint(1) + varint(count) + zigzag(first) + zigzag(step) + b"\0"
    )
    grow = steady(0, 1) + steady(1, 0) + b"a" * count
    stored = pa.compress(grow, "zstd").to_pybytes()
    put(
        "bad_delta_bomb",
        parquet(
            one=column(
                page(stored, values=count, encoding=7, size=len(grow)),
                values=count,
                metadata={4: 6},
            ),
            rows=count,
            total=count,
        ),
    )


def numbers_and_codecs() -> None:
    def label(name, pages, kind, rows=1, **options):
        put(name, parquet(label=column(pages, kind, values=rows, **options), rows=rows))

    label("ok_label_int32", page(struct.pack("<i", 0)), INT32)
    label("ok_label_double", page(struct.pack("<d", 0)), DOUBLE)
    label("ok_label_bool", page(b"\0"), BOOLEAN)
    label("ok_label_bool_runs", page(struct.pack("<I", 2) + b"\2\0", encoding=3), BOOLEAN)
    label("ok_label_text", page(text(b"entailment")), TEXT)
    label("ok_label_delta", page(deltas(0), encoding=5), INT64)
    label("ok_label_split", page(bytes(8), encoding=9), INT64)
    label("bad_label_cut", page(bytes(7)), INT64)
    label("bad_label_two", page(struct.pack("<q", 2)), INT64)
    label("bad_label_fraction", page(struct.pack("<d", 0.5)), DOUBLE)
    label("bad_label_infinite", page(struct.pack("<d", float("inf"))), DOUBLE)
    label("bad_label_text", page(text(b"maybe")), TEXT)
    label("bad_label_bool_cut", page(b""), BOOLEAN)
    label("bad_label_bool_runs_cut", page(b"\2\0", encoding=3), BOOLEAN)
    label("bad_label_bool_runs_length", page(struct.pack("<I", 9) + b"\2\0", encoding=3), BOOLEAN)
    label("bad_label_bool_runs_short", page(struct.pack("<I", 0), encoding=3), BOOLEAN)
    label("bad_label_bool_split", page(b"\0", encoding=9), BOOLEAN)
    label("bad_label_split_cut", page(bytes(7), encoding=9), INT64)
    label("bad_label_double_delta", page(deltas(0), encoding=5), DOUBLE)
    label("bad_label_delta_cut", page(b"\x80\x01", encoding=5), INT64)
    label("bad_label_int_runs", page(bytes(8), encoding=3), INT64)
    label(
        "bad_label_text_as_number", page(struct.pack("<q", 0), values=1), INT64, metadata={1: TEXT}
    )

    a = text(b"a")
    snappy = lambda data: varint(len(data)) + bytes([(len(data) - 1) << 2]) + data

    def packed(name, data, codec, size=len(a), **options):
        one(name, page(data, size=size, **options), metadata={4: codec})

    packed("ok_snappy", snappy(a), 1)
    packed("bad_snappy_length", varint(2**31) + snappy(a)[1:], 1)
    packed("bad_snappy_size", snappy(a), 1, size=6)
    packed("bad_snappy_cut", snappy(a)[:-1], 1)
    packed("bad_snappy_empty", b"", 1)
    packed("bad_snappy_bomb", varint(2**31 - 1) + b"\0", 1, size=2**31 - 1)
    packed("ok_gzip", gzip.compress(a, mtime=0), 2)
    packed("ok_gzip_members", gzip.compress(a[:2], mtime=0) + gzip.compress(a[2:], mtime=0), 2)
    packed("ok_zlib", zlib.compress(a), 2)
    packed("bad_gzip_cut", gzip.compress(a, mtime=0)[:-3], 2)
    packed("bad_gzip_more", gzip.compress(a + a, mtime=0), 2)
    packed("bad_gzip_less", gzip.compress(a, mtime=0), 2, size=6)
    packed("bad_gzip_trailing", gzip.compress(a, mtime=0) + b"x", 2)
    packed("bad_gzip_bomb", gzip.compress(bytes(10**7), mtime=0), 2)
    packed("bad_gzip_garbage", b"garbage", 2)
    zstd = pa.compress(a, "zstd").to_pybytes()
    packed("ok_zstd", zstd, 6)
    packed("bad_zstd_cut", zstd[:-1], 6)
    packed("bad_zstd_size", zstd, 6, size=6)
    packed("bad_zstd_garbage", b"garbage", 6)
    packed("bad_zstd_bomb", pa.compress(bytes(10**8), "zstd").to_pybytes(), 6)
    packed("ok_v2_zstd", zstd, 6, kind=3, details={7: True})
    packed("ok_v2_not_compressed", a, 6, kind=3, details={7: False})

    # Ten million rows of a dictionary's only word, in a few bytes.
    rows, words = 10**7, page(a, 2, 1)
    runs = words + page(b"\0" + varint(rows << 1), values=rows, encoding=8)
    put(
        "bad_rows_bomb",
        parquet(one=column(runs, values=rows, dictionary=len(words)), rows=rows, total=rows),
    )


write_golden()
CRAFTED.mkdir(exist_ok=True)
for old in [*CRAFTED.glob("ok_*"), *CRAFTED.glob("bad_*")]:
    old.unlink()
crafted_files()
numbers_and_codecs()
