#!/usr/bin/env python3
"""Writes malformed/: small checkpoints that must be refused (bad_*), and odd ones that must be
read (ok_*).

Run it in this folder; it needs nothing but Python. No file here does harm when it is only read.
"""
import io
import json
import os
import struct
import zipfile
import zlib

OUT = "malformed"


def put(name, data):
    path = f"{OUT}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)


# ---- safetensors ----

def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, begin, end, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def safetensors_files():
    one, data = {"x": tensor([2], 0, 8)}, bytes(8)
    put("ok_one.safetensors", safetensors(one, data))
    put("ok_spaces.safetensors", safetensors(json.dumps(one).encode() + b"   ", data))
    # 640 is 0x80 0x02, as pickles begin.
    put("ok_length_640.safetensors", safetensors(json.dumps(one).encode().ljust(640), data))
    put("ok_no_elements.safetensors", safetensors({"x": tensor([0, 1 << 62], 0, 0)}))
    put("ok_metadata.safetensors", safetensors({"__metadata__": {"a": "b"}, **one}, data))
    bad = {
        "length_past_end": safetensors(one, data, 10_000),
        "length_huge": safetensors(one, data, (1 << 63) - 1),
        "length_negative": safetensors(one, data, (1 << 64) - 1),
        "length_zero": safetensors(one, data, 0),
        "length_short": safetensors(one, data, 20),
        "only_length": struct.pack("<Q", 2),
        "cut_length": b"\x10\0\0\0{",
        "empty": b"",
        "not_json": safetensors(b"{" + bytes(30)),
        "no_tensor": safetensors({}),
        "array": safetensors(b" []"),
        "overlap": safetensors({"x": tensor([2], 0, 8), "y": tensor([2], 4, 12)}, bytes(12)),
        "same_bytes": safetensors({"x": tensor([2], 0, 8), "y": tensor([2], 0, 8)}, data),
        "hole": safetensors({"x": tensor([1], 0, 4), "y": tensor([1], 8, 12)}, bytes(12)),
        "hole_at_start": safetensors({"x": tensor([1], 4, 8)}, data),
        "trailing": safetensors(one, bytes(9)),
        "data_cut": safetensors(one, bytes(7)),
        "offsets_beyond_2_63": safetensors(
            b'{"x":{"dtype":"F32","shape":[2],'
            b'"data_offsets":[9223372036854775808,9223372036854775816]}}', data),
        "offsets_at_2_63": safetensors({"x": tensor([2], (1 << 63) - 9, (1 << 63) - 1)}, data),
        "offsets_negative": safetensors({"x": tensor([2], -8, 0)}, data),
        "offsets_reversed": safetensors({"x": tensor([2], 8, 0)}, data),
        "offsets_three": safetensors({"x": {"dtype": "F32", "shape": [2],
                                            "data_offsets": [0, 8, 8]}}, data),
        "offsets_text": safetensors({"x": {"dtype": "F32", "shape": [2],
                                           "data_offsets": ["0", "8"]}}, data),
        "offsets_missing": safetensors({"x": {"dtype": "F32", "shape": [2]}}, data),
        "shape_overflow": safetensors({"x": tensor([1 << 32, 1 << 32], 0, 8)}, data),
        "shape_overflow_to_size": safetensors({"x": tensor([(1 << 62) + 2], 0, 8)}, data),
        "shape_negative": safetensors({"x": tensor([-2], 0, 8)}, data),
        "shape_two_negative": safetensors({"x": tensor([-1, -2], 0, 8)}, data),
        "shape_fraction": safetensors({"x": tensor([2.5], 0, 8)}, data),
        "shape_text": safetensors({"x": tensor("2", 0, 8)}, data),
        "shape_deep": safetensors({"x": tensor([1] * 17 + [2], 0, 8)}, data),
        "size_differs": safetensors({"x": tensor([3], 0, 8)}, data),
        "dtype_unknown": safetensors({"x": tensor([2], 0, 8, "F31")}, data),
        "dtype_number": safetensors({"x": tensor([2], 0, 8, 32)}, data),
        "part_of_byte": safetensors({"x": tensor([1], 0, 1, "F4")}, b"\0"),
        "entry_text": safetensors({"x": "F32"}, data),
        "name_twice": safetensors(
            b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', data),
        "name_nul": safetensors(b'{"x\\u0000y":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
                                data),
        "name_not_utf8": safetensors(
            b'{"\xff\xfe":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', data),
        "name_surrogate": safetensors(
            b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', data),
        "metadata_number": safetensors({"__metadata__": {"a": 1}, **one}, data),
        "metadata_list": safetensors({"__metadata__": [], **one}, data),
        "deep": safetensors(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "deep_unclosed": safetensors(b'{"x":' * 20_000),
        "number_long": safetensors(b'{"x":' + b"9" * 400 + b"}"),
    }
    for name, content in bad.items():
        put(f"bad_{name}.safetensors", content)


# ---- index ----

def index_files():
    shard = safetensors({"x": tensor([2], 0, 8)}, bytes(8))

    def folder(name, index, files=("a.safetensors",)):
        text = index if isinstance(index, bytes) else json.dumps(index).encode()
        put(f"{name}/model.safetensors.index.json", text)
        for file in files:
            put(f"{name}/{file}", shard)

    folder("ok_index", {"weight_map": {"x": "a.safetensors"}})
    folder("ok_index_without_metadata", {"metadata": None, "weight_map": {"x": "a.safetensors"}})
    for name, file in [("parent", ".."), ("parent_file", "../ok_one.safetensors"),
                       ("absolute", "/etc/passwd"),
                       ("empty", ""), ("dot", "."), ("folder", "a/b.safetensors"),
                       ("backslash", "..\\a.safetensors"), ("missing_file", "b.safetensors")]:
        folder(f"bad_index_{name}", {"weight_map": {"x": file}})
    folder("bad_index_missing_tensor", {"weight_map": {"x": "a.safetensors", "y": "a.safetensors"}})
    folder("bad_index_number", {"weight_map": {"x": 3}})
    folder("bad_index_list", {"weight_map": ["a.safetensors"]})
    folder("bad_index_no_map", {"metadata": {}})
    folder("bad_index_empty_map", {"weight_map": {}})
    folder("ok_index_twice", b'{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}',
           ("b.safetensors",))
    folder("bad_index_not_json", b'{"weight_map": {"x": "a.saf')
    folder("bad_index_nul", b'{"weight_map": {"x": "a.safetensors\\u0000.txt"}}')
    folder("bad_index_deep", b'{"weight_map":' + b"[" * 100_000)
    folder("bad_index_itself", {"weight_map": {"x": "model.safetensors.index.json"}})


# ---- pickles ----

def text(value):
    value = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(value)) + value


def name_of(module, member):
    return f"c{module}\n{member}\n".encode()


def integer(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def integers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def rebuilt(key="0", count=2, offset=0, shape=(2,), stride=(1,), storage="FloatStorage"):
    return (name_of("torch._utils", "_rebuild_tensor_v2") + b"((" + text("storage") +
            name_of("torch", storage) + text(key) + text("cpu") + integer(count) + b"tQ"
            + integer(offset) +
            integers(shape) + integers(stride) + b"\x89" + name_of("collections", "OrderedDict")
            + b")RtR")


def state_dict(*items):
    return b"}(" + b"".join(text(k) + v for k, v in items) + b"u"


def program(body, protocol=2):
    return bytes([0x80, protocol]) + body + b"."


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, method)
    return out.getvalue()


def torch_zip(body, storage=bytes(8), protocol=2, more=()):
    return zipped([("m/data.pkl", program(body, protocol)), ("m/data/0", storage), *more])


def short(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def calling_pickles():
    """Each would run a command if it were executed."""
    argument = b"(" + text("false") + b"t"
    for module, member in [("os", "system"), ("posix", "system"), ("nt", "system"),
                           ("builtins", "exec"),
                           ("builtins", "eval"), ("__builtin__", "eval"), ("builtins", "getattr"),
                           ("builtins", "__import__"), ("subprocess", "Popen"),
                           ("subprocess", "check_output"),
                           ("runpy", "_run_code"), ("webbrowser", "open"), ("torch", "load"),
                           ("torch.hub", "load"), ("torch._utils", "os.system"),
                           ("numpy.f2py", "compile"),
                           ("pickle", "loads"), ("ctypes", "CDLL"), ("operator", "attrgetter")]:
        where, both = f"{module}.{member}".replace(".", "_"), name_of(module, member)
        yield f"reduce_{where}", both + argument + b"R"
    system = name_of("os", "system")
    yield "newobj", system + argument + b"\x81"
    yield "newobj_ex", system + argument + b"}\x92"
    yield "inst", b"(" + text("false") + b"ios\nsystem\n"
    yield "obj", b"(" + system + text("false") + b"o"
    yield "build", name_of("argparse", "Namespace") + b")R" + system + argument + b"Rb"
    yield "build_setstate", system + b"}" + text("__setstate__") + system + b"sb"
    yield "stack_global", short("os") + short("system") + b"\x93" + argument + b"R"
    yield "stack_global_memo", short("system") + b"\x940" + short(
        "os") + b"h\0\x93" + argument + b"R"
    yield "extension_1", b"\x82\x01"
    yield "extension_2", b"\x83\x01\0"
    yield "extension_4", b"\x84\x01\0\0\0"
    yield "in_state_dict", state_dict(("x", rebuilt()), ("y", system + argument + b"R"))
    yield "popped", system + argument + b"R0" + state_dict(("x", rebuilt()))
    yield "dotted_member", name_of("collections", "OrderedDict.__reduce__.__globals__") + b")R"
    yield "persistent_text", b"Pos.system\n"


def malformed_pickles():
    x = ("x", rebuilt())
    yield "empty_stack", b"0"
    yield "mark_unset", b"t"
    yield "list_of_no_stack", b"(l0"
    yield "below_mark", b"N(0" + b"0" * 3
    yield "stack_left", b"NN" + state_dict(x)
    yield "memo_huge", b"Nr\xff\xff\xff\xff"
    yield "memo_unset", b"h\x07"
    yield "marks", b"(" * 200_000
    yield "frame_huge", b"\x95" + b"\xff" * 8 + b"N"
    yield "text_huge", b"\x8d" + b"\xff" * 8
    yield "bytes_past_end", b"B\xff\xff\xff\x7fabc"
    yield "long_past_end", b"\x8b\xff\xff\xff\xff1"
    yield "odd_dict", b"(" + text("x") + b"d"
    yield "append_to_dict", b"}Na"
    yield "call_dict", b"})R"
    yield "keywords_list", name_of("collections", "OrderedDict") + b")]\x92"
    yield "dict_of_numbers", name_of("collections", "OrderedDict") + b"(](K\x01K\x02etR"
    yield "dicts_of_one_list", (b"](" + b"NN\x86" * 2000 + b"eq\x000" +
                                (name_of("collections", "OrderedDict") + b"h\0\x85R0") * 2000
                                + b"}")
    yield "root_number", b"K\x01"
    yield "root_tensor", rebuilt()
    yield "root_empty", b"}"
    yield "root_itself", b"}q\0" + text("model") + b"h\0s"
    yield "wrapped_forever", (name_of("torch.nn.parameter", "Parameter") + b"]q\0" + b"h\0a\x85R0"
                              + b"}")
    yield "storage_missing", state_dict(("x", rebuilt(key="1")))
    yield "storage_size", state_dict(("x", rebuilt(count=3)))
    yield "storage_negative", state_dict(("x", rebuilt(count=-2)))
    yield "storage_overflow", state_dict(("x", rebuilt(count=1 << 62)))
    yield "storage_type", state_dict(("x", rebuilt(storage="float32")))
    yield "storage_key_parent", state_dict(("x", rebuilt(key="../data.pkl")))
    yield "offset_past_end", state_dict(("x", rebuilt(offset=1)))
    yield "offset_negative", state_dict(("x", rebuilt(offset=-1)))
    yield "offset_overflow", state_dict(("x", rebuilt(offset=(1 << 63) - 1)))
    yield "shape_overflow", state_dict(("x", rebuilt(shape=(1 << 32, 1 << 32), stride=(0, 0))))
    yield "shape_negative", state_dict(("x", rebuilt(shape=(-2,))))
    yield "stride_past_end", state_dict(("x", rebuilt(stride=(2,))))
    yield "stride_negative", state_dict(("x", rebuilt(stride=(-1,))))
    yield "stride_overflow", state_dict(("x", rebuilt(shape=(3,), stride=(1 << 62,))))
    yield "stride_count", state_dict(("x", rebuilt(stride=(1, 1))))
    yield "rank", state_dict(("x", rebuilt(shape=(1,) * 17, stride=(1,) * 17)))
    yield "name_nul", state_dict(("a\0b", rebuilt()))
    yield "name_not_utf8", state_dict((b"\xff\xfe", rebuilt()))
    yield "arguments_missing", state_dict(("x", name_of("torch._utils", "_rebuild_tensor_v2")
                                           + b")R"))
    yield "persistent_number", state_dict(("x", b"K\x01Q")) + b"0}"
    yield "sparse", state_dict(("x", name_of("torch._utils", "_rebuild_sparse_tensor") + b")R"))


def pickle_files():
    one = state_dict(("x", rebuilt()))
    put("ok_one.pt", torch_zip(one))
    put("ok_contains_itself.pt", torch_zip(b"}q\0(" + text("x") + rebuilt() + text("y") + b"h\0u"))
    put("ok_key_twice.pt", torch_zip(state_dict(("x", rebuilt()), ("x", rebuilt()))))
    put("ok_lists_in_lists.pt",
        torch_zip(state_dict(("x", rebuilt()), ("y", b"]" * 50_000 + b"a" * 49_999))))
    for name, body in calling_pickles():
        put(f"bad_call_{name}.pt", torch_zip(body, protocol=4))
    for name, body in malformed_pickles():
        put(f"bad_pickle_{name}.pt", torch_zip(body))
    put("bad_pickle_protocol_0.pt", torch_zip(one, protocol=0))
    put("bad_pickle_protocol_6.pt", torch_zip(one, protocol=6))
    put("bad_pickle_no_stop.pt",
        zipped([("m/data.pkl", b"\x80\x02" + one), ("m/data/0", bytes(8))]))
    put("bad_pickle_empty.pt", zipped([("m/data.pkl", b""), ("m/data/0", bytes(8))]))


# ---- the older form ----

def legacy(body, keys=None, storages=None,
           magic=b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"):
    keys = b"]" + text("0") + b"a" if keys is None else keys
    storages = struct.pack("<q", 2) + bytes(8) if storages is None else storages
    return (program(magic) + program(b"M\xe9\x03") + program(b"}") + program(body) + program(keys)
            + storages)


def old_rebuilt(**more):
    """The storage's persistent id has a sixth item here."""
    return rebuilt(**more).replace(b"tQ", b"NtQ", 1)


def legacy_files():
    one = state_dict(("x", old_rebuilt()))
    put("ok_one.bin", legacy(one))
    bad = {
        "magic": legacy(one, magic=b"K\x01"),
        "keys_number": legacy(one, keys=b"K\x01"),
        "keys_unknown": legacy(one, keys=b"](" + text("0") + text("1") + b"e"),
        "keys_twice": legacy(one, keys=b"](" + text("0") + text("0") + b"e",
                             storages=struct.pack("<qqqq", 2, 0, 2, 0)),
        "keys_none": legacy(one, keys=b"]"),
        "count_other": legacy(one, storages=struct.pack("<q", 3) + bytes(12)),
        "count_negative": legacy(one, storages=struct.pack("<q", -2) + bytes(8)),
        "data_cut": legacy(one, storages=struct.pack("<q", 2) + bytes(7)),
        "count_cut": legacy(one, storages=b"\x02"),
        "storage_huge": legacy(state_dict(("x", old_rebuilt(count=1 << 60))),
                               storages=struct.pack("<q", 1 << 60)),
        "two_sizes": legacy(state_dict(("x", old_rebuilt()), ("y", old_rebuilt(count=3)))),
        "view_outside": legacy(state_dict(("x", rebuilt().replace(
            b"tQ", b"(" + text("v") + integer(1) + integer(2) + b"ttQ", 1)))),
        "call": legacy(name_of("os", "system") + b"(" + text("false") + b"tR"),
        "call_in_keys": legacy(one, keys=name_of("os", "system") + b"(" + text("false") + b"tR"),
    }
    for name, content in bad.items():
        put(f"bad_legacy_{name}.bin", content)


# ---- zip ----

def patched(data, signature, at, value):
    """Overwrites bytes of the last record that begins with the signature."""
    start = data.rindex(signature) + at
    return data[:start] + value + data[start + len(value):]


def zipped64(members, extra=lambda size, at: struct.pack("<HHQQQ", 1, 24, size, size, at)):
    """All sizes and offsets in 64-bit fields, as if they needed it; `extra` makes the
    directory's."""
    ones, data, directory = b"\xff" * 4, b"", b""
    for name, content in members:
        checksum = struct.pack("<I", zlib.crc32(content))
        fields = bytes(8) + checksum + ones * 2 + struct.pack("<H", len(name))
        more = extra(len(content), len(data))
        directory += (b"PK\1\2-\0-\0" + fields + struct.pack("<H", len(more)) + bytes(10) + ones +
                      name.encode() + more)
        own = struct.pack("<HHQQ", 1, 16, len(content), len(content))
        data += b"PK\3\4-\0" + fields + struct.pack("<H", len(own)) + name.encode() + own + content
    count, start = len(members), len(data)
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(directory),
                                    start)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, start + len(directory), 1)
    return data + directory + end64 + locator + b"PK\5\6" + bytes(4) + b"\xff" * 12 + bytes(2)


def zip_files():
    body = program(state_dict(("x", rebuilt())))
    members = [("m/data.pkl", body), ("m/data/0", bytes(8))]
    good = zipped(members)
    local, entry, end = b"PK\3\4", b"PK\1\2", b"PK\5\6"
    put("ok_comment.pt", patched(good, end, 20, b"\3\0") + b"abc")
    put("ok_more_members.pt", zipped(members + [("m/version", b"3\n"), ("m/byteorder", b"little")]))
    # The header of the last member, which is empty, lies in the data of the one before it as well.
    header = local + good[good.rindex(local) + 4:][:24].replace(struct.pack("<II", 8, 8),
                                                                bytes(8)) + b"\0\0m/data/1"
    header = header[:14] + bytes(4) + header[18:26] + b"\x08\0" + header[28:]
    nested = zipped([members[0], ("m/data/0", header), ("m/data/1", b"")])
    nested = patched(nested, entry, 42, struct.pack("<I", nested.index(header)))
    bad = {
        "compressed": zipped([("m/data.pkl", body + bytes(1000)), ("m/data/0", bytes(8))],
                             zipfile.ZIP_DEFLATED),
        "bomb": zipped([("m/data.pkl", bytes(1 << 20)), ("m/data/0", bytes(8))],
                       zipfile.ZIP_DEFLATED),
        "sizes_differ": patched(good, entry, 24, struct.pack("<I", 7)),
        "size_past_directory": patched(good, entry, 20, struct.pack("<II", 5000, 5000)),
        "size_all_ones": patched(good, entry, 20, b"\xff" * 8),
        "local_size_differs": patched(good, local, 18, struct.pack("<II", 7, 7)),
        "local_name_differs": patched(good, local, 30, b"n"),
        "offset_past_end": patched(good, entry, 42, struct.pack("<I", 1 << 30)),
        "offset_wrong": patched(good, entry, 42, struct.pack("<I", 3)),
        "same_member": patched(good, entry, 42, bytes(4)),
        "overlapping": nested,
        "local_extra_huge": patched(good, local, 28, b"\xff\xff"),
        "encrypted": patched(good, entry, 8, b"\1\0"),
        "directory_cut": good[:-30],
        "directory_past_end": patched(good, end, 16, struct.pack("<I", 1 << 30)),
        "directory_size": patched(good, end, 12, b"\xff\xff\xff\x7f"),
        "count_more": patched(good, end, 8, struct.pack("<HH", 3, 3)),
        "count_fewer": patched(good, end, 8, struct.pack("<HH", 1, 1)),
        "count_huge": patched(good, end, 8, b"\xff\xff\xff\xff"),
        "no_members": zipped([]),
        "no_pickle": zipped([("m/data/0", bytes(8))]),
        "two_pickles": zipped(members + [("n/data.pkl", body)]),
        "parent_name": zipped(members + [("../x", b"")]),
        "parent_inside": zipped(members + [("m/../../x", b"")]),
        "absolute_name": zipped(members + [("/x", b"")]),
        "program": zipped(members + [("m/constants.pkl", b"")]),
        "big_endian": zipped(members + [("m/byteorder", b"big")]),
        "byte_order": zipped(members + [("m/byteorder", b"whatever it may be")]),
        "only_signature": b"PK\3\4",
        "comment_size": patched(good, end, 20, b"\3\0") + b"ab",
    }
    put("ok_zip64.pt", zipped64(members))
    bad["zip64_no_field"] = zipped64(members, lambda size, at: b"")
    bad["zip64_other_field"] = zipped64(members, lambda size, at: struct.pack("<HHQ", 2, 8, size))
    bad["zip64_short"] = zipped64(members, lambda size, at: struct.pack("<HHQ", 1, 8, size))
    bad["zip64_shorter"] = zipped64(members, lambda size, at: struct.pack("<HHI", 1, 4, size))
    bad["zip64_past_end"] = zipped64(members, lambda size, at: struct.pack("<HHQ", 1, 24, size))
    bad["zip64_sizes_huge"] = zipped64(
        members, lambda size, at: struct.pack("<HHQQQ", 1, 24, (1 << 64) - 1, (1 << 64) - 1, at))
    bad["zip64_offset_huge"] = zipped64(
        members, lambda size, at: struct.pack("<HHQQQ", 1, 24, size, size, (1 << 64) - 9))
    twice = zipped(members + [("m/data/1", bytes(8))])
    bad["name_twice"] = twice.replace(b"m/data/1", b"m/data/0")
    bad["name_nul"] = twice.replace(b"m/data/1", b"m/data\0001")
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 1 << 62, 1)
    bad["zip64_offset"] = good[:good.rindex(end)] + locator + good[good.rindex(end):]
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 1 << 62,
                                     1 << 62)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, good.rindex(end), 1)
    bad["zip64_huge"] = good[:good.rindex(end)] + record + locator + good[good.rindex(end):]
    for name, content in bad.items():
        put(f"bad_zip_{name}.pt", content)


# ---- others ----

def strangers():
    put("bad_lfs.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    put("bad_gguf.bin", b"GGUF" + bytes(60))
    put("bad_hdf5.bin", b"\x89HDF\r\n\x1a\n" + bytes(60))
    put("bad_gzip.bin", b"\x1f\x8b" + bytes(60))
    put("bad_page.bin", b"<!DOCTYPE html><title>Not found</title>")
    put("bad_zeros.bin", bytes(600))
    put("bad_two_files/a.safetensors", safetensors({"x": tensor([2], 0, 8)}, bytes(8)))
    put("bad_two_files/b.safetensors", safetensors({"y": tensor([2], 0, 8)}, bytes(8)))


def main():
    safetensors_files()
    index_files()
    pickle_files()
    legacy_files()
    zip_files()
    strangers()


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main()
