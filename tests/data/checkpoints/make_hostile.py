#!/usr/bin/env python3
"""Writes hostile/: files that must be refused (bad_*) and odd ones that must not be (ok_*).

hostile/verdicts.txt has a line for each: its name, the status, and words that the error must have, by tabs. Run it in
any folder; it needs nothing but Python.
"""
import json
import os
import shutil
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile")
verdicts = []


def put(name, data, status="FORMAT", words=""):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)
    verdict(name, status, words)


def verdict(name, status, words):
    assert name.startswith("ok_") == (status == "OK"), name
    assert words or status == "OK", name
    verdicts.append(f"{name}\t{status}\t{words}\n")


# ---- safetensors ----

def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, offsets, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def raw(shape="[1]", offsets="[0,4]", dtype='"F32"', name='"a"'):
    return f'{{{name}:{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'.encode()


def one(name, header, status="FORMAT", words="", data=bytes(4), length=None):
    put(f"{name}.safetensors", safetensors(header, data, length), status, words)


def make_safetensors():
    one("ok_spaces", b"  " + raw() + b" \n", "OK")
    one("ok_no_metadata_value", b'{"__metadata__":null,' + raw()[1:], "OK")
    one("ok_extra_field", {"a": tensor([1], [0, 4], more=[1])}, "OK")
    one("ok_empty_between", {"c": tensor([0], [4, 4]), "a": tensor([1], [0, 4]),
                             "b": tensor([0, 9], [0, 0])}, "OK")
    one("ok_empty_name", raw(name='""'), "OK")
    one("bad_length_zero", b"", "UNSUPPORTED", "expected a safetensors or torch file", b"", 0)
    one("bad_length_past_end", raw(), words="only 59 bytes follow", length=60)
    one("bad_length_huge", raw(), words="at most 100000000 bytes", length=100000001)
    one("bad_length_negative", raw(), words="at most 100000000 bytes", length=2**64 - 1)
    one("bad_length_2_63", raw(), words="at most 100000000 bytes", length=2**63)
    one("bad_length_short", raw(), words="not valid JSON", length=20)
    one("bad_nothing", b"{}", words="no tensor", data=b"")
    one("bad_only_metadata", {"__metadata__": {"a": "b"}}, words="no tensor", data=b"")
    one("bad_hole", {"a": tensor([1], [0, 4]), "b": tensor([1], [8, 12])}, words="a hole", data=bytes(12))
    one("bad_hole_first", {"a": tensor([1], [4, 8])}, words="a hole", data=bytes(8))
    one("bad_overlap", {"a": tensor([2], [0, 8]), "b": tensor([1], [4, 8])}, words="an overlap", data=bytes(8))
    one("bad_same_bytes", {"a": tensor([1], [0, 4]), "b": tensor([1], [0, 4])}, words="an overlap")
    one("bad_trailing", {"a": tensor([1], [0, 4])}, words="as the header says, found 5", data=bytes(5))
    one("bad_short_data", {"a": tensor([2], [0, 8])}, words="within 4 bytes of data")
    one("bad_empty_inside", {"a": tensor([2], [0, 8]), "b": tensor([0], [4, 4])}, words="tensor 'b'", data=bytes(8))
    one("bad_empty_beyond", {"a": tensor([1], [0, 4]), "b": tensor([0], [9, 9])}, words="tensor 'b'")
    one("bad_order", {"a": tensor([1], [4, 0])}, words="in order, found [4, 0]")
    one("bad_offset_negative", raw(offsets="[-4,0]"), words="from 0 up")
    one("bad_offset_2_63", raw(offsets="[0,9223372036854775808]"), words="not valid JSON")
    one("bad_offset_max", raw(offsets="[9223372036854775803,9223372036854775807]"), words="tensor 'a'")
    one("bad_offset_fraction", raw(offsets="[0,4.0]"), words="two integers")
    one("bad_offset_three", raw(offsets="[0,4,8]"), words="two integers")
    one("bad_offset_text", raw(offsets='"04"'), words="two integers")
    one("bad_shape_negative", raw("[-1]"), words="from 0 up")
    one("bad_shape_fraction", raw("[1.0]"), words="dimension 0")
    one("bad_shape_overflow", raw("[4611686018427387904,4]"), words="too large")
    one("bad_shape_2_63", raw("[9223372036854775808]"), words="not valid JSON")
    one("bad_shape_object", raw("{}"), words="array as shape")
    one("bad_shape_rank", raw(str([1] * 17)), "UNSUPPORTED", "found 17")
    one("bad_size", raw("[2]"), words="expected 8 bytes for shape [2] of F32")
    one("bad_dtype", raw(dtype='"F31"'), "UNSUPPORTED", "tensor 'a': unknown dtype 'F31'")
    one("bad_dtype_case", raw(dtype='"f32"'), "UNSUPPORTED", "unknown dtype 'f32'")
    one("bad_dtype_number", raw(dtype="32"), words="text as dtype")
    one("bad_half_byte", raw("[3]", "[0,1]", '"F4"'), words="whole number of bytes", data=bytes(1))
    one("bad_field_missing", b'{"a":{"dtype":"F32","shape":[1]}}', words="data_offsets")
    one("bad_tensor_null", b'{"a":null}', words="expected an object")
    one("bad_metadata_number", b'{"__metadata__":{"x":1}}', words="__metadata__ as 'x'", data=b"")
    one("bad_metadata_list", b'{"__metadata__":[]}', words="__metadata__", data=b"")
    one("bad_duplicate", raw()[:-1] + b"," + raw()[1:], words="duplicate")
    one("bad_duplicate_field", raw(dtype='"F32","dtype":"F32"'), words="duplicate")
    one("bad_name_nul", raw(name='"a\\u0000b"'), words="not valid JSON")
    one("bad_utf8", raw().replace(b'"a"', b'"\xff"'), words="UTF-8")
    one("bad_surrogate", raw(name='"\\ud800"'), words="not valid JSON")
    one("bad_nul_padding", raw() + b"\0\0", words="not valid JSON")
    one("bad_json_end", raw()[:-1], words="not valid JSON")
    one("bad_json_more", raw() + b"{}", words="not valid JSON")
    one("bad_control_name", raw("[2]", name='"\\u001b[31m\\n"'), words="tensor '\\x1b[31m\\x0a'")


# ---- folders and indices ----

def index(name, weight_map, status="FORMAT", words="", files=("a.safetensors",)):
    text = weight_map if isinstance(weight_map, bytes) else json.dumps({"weight_map": weight_map}).encode()
    for file in files:
        path = os.path.join(HERE, name, file)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(safetensors(raw(), bytes(4)))
    put(f"{name}/model.safetensors.index.json", text)
    verdicts.pop()
    verdict(name, status, words)


def make_indices():
    index("ok_index", {"a": "a.safetensors"}, "OK")
    index("ok_index_dots", {"a": "..a..safetensors"}, "OK", files=("..a..safetensors",))
    index("bad_index_parent", {"a": "../ok_spaces.safetensors"}, words="'../ok_spaces.safetensors'")
    index("bad_index_absolute", {"a": "/etc/passwd"}, words="'/etc/passwd'")
    index("bad_index_folder", {"a": "sub/a.safetensors"}, words="without folders", files=("sub/a.safetensors",))
    index("bad_index_backslash", {"a": "..\\a.safetensors"}, words="without folders")
    index("bad_index_empty_name", {"a": ""}, words="tensor 'a'")
    index("bad_index_dot", {"a": "."}, words="without folders")
    index("bad_index_dots", {"a": ".."}, words="without folders")
    index("bad_index_is_folder", {"a": "x"}, words="found a folder", files=("x/a.safetensors",))
    index("bad_index_missing_file", {"a": "a.safetensors", "b": "b.safetensors"}, "NOT_FOUND", "b.safetensors")
    index("bad_index_missing_tensor", {"a": "a.safetensors", "b": "a.safetensors"},
          words="a.safetensors: tensor 'b'")
    index("bad_index_number", {"a": 1}, words="tensor 'a'")
    index("bad_index_empty", {}, words="weight_map")
    index("bad_index_none", b"{}", words="weight_map")
    index("bad_index_list", b'{"weight_map": ["a"]}', words="weight_map")
    index("bad_index_json", b'{"weight_map": ', words="not valid JSON")
    index("bad_index_duplicate", b'{"weight_map": {"a": "a.safetensors", "a": "b"}}', words="duplicate")
    index("bad_index_utf8", b'{"weight_map": {"a": "\xff"}}', words="UTF-8")
    index("bad_index_itself", {"a": "model.safetensors.index.json"}, "UNSUPPORTED",
          "expected a safetensors or torch file")
    for name in ("a", "b"):
        put(f"bad_two_files/{name}.safetensors", safetensors(raw(), bytes(4)), words="-")
        verdicts.pop()
    verdict("bad_two_files", "NOT_FOUND", "the 2 *.safetensors files")
    put("bad_no_weights/readme.txt", b"nothing", words="-")
    verdicts.pop()
    verdict("bad_no_weights", "NOT_FOUND", "pytorch_model.bin.index.json or pytorch_model.bin")
    put("bad_empty.bin", b"", "UNSUPPORTED", "an empty file")
    put("bad_gguf.bin", b"GGUF" + bytes(40), "UNSUPPORTED", "GGUF")
    put("bad_pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "UNSUPPORTED", "Git LFS")
    put("bad_page.bin", b"<!DOCTYPE html><html></html>", "UNSUPPORTED", "web page")
    put("bad_tar.bin", b"storages" + bytes(249) + b"ustar\x0000" + bytes(300), "UNSUPPORTED", "tar file")
    put("bad_hdf5.bin", b"\x89HDF\r\n\x1a\n" + bytes(20), "UNSUPPORTED", "HDF5")
    put("bad_short.bin", b"\x80", "UNSUPPORTED", "something else")


# ---- zip ----

def zipped(members, comment=b"", **change):
    """members: (name, data[, fields that lie]). Also `count`, `offset`, `size` of the directory, and zip64."""
    body, directory = b"", b""
    for name, data, *more in members:
        lie = more[0] if more else {}
        raw_name = name if isinstance(name, bytes) else name.encode()
        size = lie.get("size", len(data))
        local_name = lie.get("local_name", raw_name)
        at = lie.get("at", len(body))
        flags, method = lie.get("flags", 0), lie.get("method", 0)
        body += struct.pack("<IHHHHHIIIHH", lie.get("signature", 0x04034B50), 0, lie.get("local_flags", flags),
                            lie.get("local_method", method), 0, 0, 0, lie.get("local_size", size) & 0xFFFFFFFF,
                            lie.get("local_size", size) & 0xFFFFFFFF, len(local_name), lie.get("local_extra", 0))
        body += local_name + data
        wide = lie.get("zip64")
        extra = b"" if wide is None else b"\x99\x99\x02\0xx" + struct.pack("<HH", 1, len(wide)) + wide
        extra = lie.get("extra", extra)
        small = 0xFFFFFFFF if wide is not None else size
        directory += struct.pack("<IHHHHHHIIIHHHHHII", lie.get("entry_signature", 0x02014B50), 0, 0, flags, method,
                                 0, 0, 0, lie.get("packed", small), small, len(raw_name), len(extra), 0, 0, 0, 0,
                                 0xFFFFFFFF if wide is not None else at)
        directory += raw_name + extra
    count, offset = change.get("count", len(members)), change.get("offset", len(body))
    size = change.get("size", len(directory))
    out = body + directory
    if change.get("zip64"):
        end = len(out)
        out += struct.pack("<IQHHIIQQQQ", change.get("end64", 0x06064B50), 44, 0, 0, 0, 0, count, count, size, offset)
        out += struct.pack("<IIQI", 0x07064B50, 0, change.get("locator", end), 1)
        count, size, offset = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, size, offset, len(comment)) + comment


PROTO = b"\x80\x02"


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return b"X" + struct.pack("<I", len(s)) + s


def glob(name):
    module, _, member = name.rpartition(".")
    return f"c{module}\n{member}\n".encode()


def number(n):
    return b"J" + struct.pack("<i", n) if -2**31 <= n < 2**31 else b"\x8a\x09" + n.to_bytes(9, "little", signed=True)


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def storage(key="0", count=2, kind="torch.FloatStorage", *more):
    key = key if isinstance(key, bytes) else text(key)
    count = count if isinstance(count, bytes) else number(count)
    return tup(text("storage"), glob(kind), key, text("cpu"), count, *more) + b"Q"


def rebuilt(store=None, offset=0, size=(2,), stride=(1,), function="torch._utils._rebuild_tensor_v2", more=None):
    store = storage() if store is None else store
    as_tuple = lambda v: v if isinstance(v, bytes) else tup(*map(number, v))
    rest = [b"\x89", glob("collections.OrderedDict") + b")R"] if more is None else more
    return glob(function) + tup(store, number(offset), as_tuple(size), as_tuple(stride), *rest) + b"R"


def dictionary(*pairs):
    return b"}(" + b"".join(text(k) + v for k, v in pairs) + b"u"


def pickled(*pairs):
    return PROTO + dictionary(*pairs) + b"."


def checkpoint(pickle, data=bytes(8), more=(), **change):
    return zipped([("x/data.pkl", pickle), ("x/data/0", data), *more], **change)


def zip_file(name, pickle, status="FORMAT", words="", **more):
    put(f"{name}.pt", checkpoint(pickle, **more), status, words)


def make_zips():
    good = pickled(("w", rebuilt()))
    members = [("x/data.pkl", good), ("x/data/0", bytes(8))]
    put("ok_zip.pt", zipped(members), "OK")
    put("ok_zip_comment.pt", zipped(members, b"PK\5\6 and more words"), "OK")
    put("ok_zip64.pt", zipped(members, zip64=True), "OK")
    body = 30 + len("x/data.pkl") + len(good)
    wide = struct.pack("<QQQ", 8, 8, body)
    put("ok_zip64_member.pt", zipped([members[0], ("x/data/0", bytes(8), {"zip64": wide})]), "OK")
    put("ok_zip_sizes_follow.pt", zipped([members[0], ("x/data/0", bytes(8), {"flags": 8, "local_size": 0})]), "OK")
    put("ok_zip_others.pt", zipped([*members, ("x/byteorder", b"little"), ("x/version", b"3\n"),
                                    ("x/.data/id", b"7"), ("x/code/data.pkl", b"?"), ("y/", b"")]), "OK")

    def lie(name, words, status="FORMAT", **fields):
        put(f"{name}.pt", zipped([members[0], ("x/data/0", bytes(8), fields)]), status, words)

    lie("bad_zip_compressed", "'x/data/0' is compressed (method 8)", "UNSUPPORTED", method=8)
    lie("bad_zip_encrypted", "encrypted", "UNSUPPORTED", flags=1)
    lie("bad_zip_two_sizes", "two sizes differ", packed=9)
    lie("bad_zip_past_end", "'x/data/0' has 4000000000 bytes", size=4000000000, local_size=4000000000)
    lie("bad_zip_local_size", "contradict", local_size=7)
    lie("bad_zip_local_method", "contradict", local_method=8)
    lie("bad_zip_local_encrypted", "contradict", local_flags=1)
    lie("bad_zip_local_name", "another name", local_name=b"x/data/1")
    lie("bad_zip_local_name_size", "contradict", local_name=b"x/data")
    lie("bad_zip_local_signature", "does not begin where", signature=1)
    lie("bad_zip_local_extra", "the directory begins at", local_extra=60000)
    lie("bad_zip_entry_signature", "another entry", entry_signature=1)
    lie("bad_zip_offset", "expected before the directory", at=4000000000)
    lie("bad_zip_same_place", "does not begin where", at=7)
    lie("bad_zip64_short", "broken zip64", zip64=struct.pack("<QQ", 8, 8))
    lie("bad_zip64_empty", "broken zip64", zip64=b"")
    lie("bad_zip64_huge", "bytes", zip64=struct.pack("<QQQ", 2**64 - 1, 2**64 - 1, body))
    lie("bad_zip64_offset", "expected before the directory", zip64=struct.pack("<QQQ", 8, 8, 2**63))
    lie("bad_zip_extra_cut", "broken zip64", extra=b"\x07\x00\xff\xff")
    overlap = zipped([("x/data.pkl", good + b"x"), members[1]])
    put("bad_zip_overlap.pt", zipped([("x/data.pkl", good, {"size": len(good) + 20, "local_size": len(good) + 20}),
                                      members[1]]), words="overlap")
    twice = zipped([*members, ("x/data/0", bytes(8))])
    put("bad_zip_twice.pt", twice, words="two members 'x/data/0'")
    same = zipped([*members, ("x/data/0", bytes(8), {"at": body})])
    put("bad_zip_twice_same_bytes.pt", same, words="overlap")
    for name, member in [("parent", "x/../../y"), ("parent_end", "x/.."), ("parent_first", "../x"), ("absolute", "/x/y"),
                         ("backslash", "x\\y"), ("nul", "x\0y"), ("empty", "")]:
        put(f"bad_zip_name_{name}.pt", zipped([*members, (member, b"")]), words="stay inside")
    put("bad_zip_count_more.pt", zipped(members, count=3), words="cannot hold 3 members"
        if len(members[0][0]) + len(members[1][0]) + 92 < 138 else "another entry")
    put("bad_zip_count_huge.pt", zipped(members, count=60000), words="cannot hold 60000 members")
    put("bad_zip_count_less.pt", zipped(members, count=1), words="expected 1 members")
    put("bad_zip_directory_offset.pt", zipped(members, offset=4000000000), words="expected a zip directory")
    put("bad_zip_directory_size.pt", zipped(members, size=4000000000), words="expected a zip directory")
    put("bad_zip_directory_short.pt", zipped(members, size=100), words="end of the zip directory")
    put("bad_zip64_directory.pt", zipped(members, zip64=True, offset=2**64 - 8), words="expected a zip directory")
    put("bad_zip64_count.pt", zipped(members, zip64=True, count=2**62), words="cannot hold")
    put("bad_zip64_locator.pt", zipped(members, zip64=True, locator=2**63), words="zip64 end record")
    put("bad_zip64_end.pt", zipped(members, zip64=True, end64=1), words="zip64 end record")
    put("bad_zip_no_end.pt", zipped(members)[:-1], words="not complete")
    put("bad_zip_trailing.pt", zipped(members) + b"x", words="not complete")
    put("bad_zip_head_only.pt", b"PK\3\4", words="not complete")
    put("bad_zip_empty.pt", zipped([]), "UNSUPPORTED", "without NAME/data.pkl")
    put("bad_zip_other.pt", zipped([("word/document.xml", b"")]), "UNSUPPORTED", "without NAME/data.pkl")
    put("bad_zip_deep.pt", zipped([("x/y/data.pkl", good)]), "UNSUPPORTED", "without NAME/data.pkl")
    put("bad_zip_two_pickles.pt", zipped([*members, ("y/data.pkl", good)]), words="found two")
    put("bad_zip_big_endian.pt", zipped([*members, ("x/byteorder", b"big")]), "UNSUPPORTED", "found big")
    put("bad_zip_byte_order.pt", zipped([*members, ("x/byteorder", b"little and more")]), "UNSUPPORTED", "something else")
    put("bad_zip_script.pt", zipped([*members, ("x/constants.pkl", b"")]), "UNSUPPORTED", "TorchScript")
    put("bad_zip_no_storage.pt", zipped([members[0]]), words="tensor 'w': its storage '0' is not in the file")
    put("bad_zip_storage_short.pt", zipped([members[0], ("x/data/0", bytes(7))]), words="expected 8 bytes in storage '0'")
    put("bad_zip_storage_long.pt", zipped([members[0], ("x/data/0", bytes(9))]), words="expected 8 bytes in storage '0'")


# ---- pickles ----

def make_pickles():
    refused = "refused: the pickle refers to"

    def bad(name, pickle, words, status="FORMAT", **more):
        zip_file(f"bad_pickle_{name}", pickle, status, words, **more)

    # Code, by every way to name it and to call it. The name alone is enough to be refused.
    calls = {
        "reduce": glob("os.system") + tup(text("true")) + b"R",
        "stack_global": b"\x8c\x02os\x8c\x06system\x93" + tup(text("true")) + b"R",
        "stack_global_long": text("os") + text("system") + b"\x93" + tup(text("true")) + b"R",
        "newobj": glob("os.system") + tup(text("true")) + b"\x81",
        "newobj_ex": glob("os.system") + tup(text("true")) + b"}\x92",
        "inst": b"(" + text("true") + b"ios\nsystem\n",
        "obj": b"(" + glob("os.system") + text("true") + b"o",
        "unused": glob("os.system") + b"0",
        "build": glob("os.system") + dictionary(("a", b"N")) + b"b",
        "memo": glob("os.system") + b"q\x00" + b"0h\x00)R",
    }
    for name, code in calls.items():
        bad(f"call_{name}", PROTO + code + b".", f"{refused} 'os.system'", "UNSUPPORTED")
    for name in ("builtins.eval", "builtins.exec", "builtins.getattr", "__builtin__.eval", "posix.system",
                 "subprocess.Popen", "torch.storage._load_from_bytes", "torch.load", "runpy._run_code",
                 "operator.attrgetter", "collections.OrderedDictionary", "torch._utils._rebuild_tensor_v22",
                 "numpy.core.multiarray.scalar.x", "builtins.__import__"):
        bad(f"name_{name.replace('.', '_')}", pickled(("w", rebuilt()), ("x", glob(name) + b")R")),
            f"{refused} '{name}'", "UNSUPPORTED")
    bad("name_newline", PROTO + b"\x8c\x0dos\nsystem\x1b[31\x8c\x01x\x93.", "\\x0asystem", "UNSUPPORTED")
    bad("name_long", PROTO + text("a" * 3000) + text("b" * 3000) + b"\x93.", "refers to 'aaa", "UNSUPPORTED")
    bad("name_number", PROTO + b"K\x01K\x02\x93.", "not text")
    bad("name_empty", PROTO + b"c\n\n)R.", f"{refused} '.'", "UNSUPPORTED")
    bad("ext1", PROTO + b"\x82\x01.", "instruction 0x82", "UNSUPPORTED")
    bad("ext2", PROTO + b"\x83\x01\x00.", "instruction 0x83", "UNSUPPORTED")
    bad("ext4", PROTO + b"\x84\x01\x00\x00\x00.", "instruction 0x84", "UNSUPPORTED")
    bad("obj", PROTO + b"(" + glob("collections.OrderedDict") + b"o.", "instruction 0x6f", "UNSUPPORTED")
    bad("inst", PROTO + b"(icollections\nOrderedDict\n.", "instruction 0x69", "UNSUPPORTED")
    bad("buffer", b"\x80\x05\x97.", "instruction 0x97", "UNSUPPORTED")
    bad("persid_text", PROTO + b"Pstorage\n.", "instruction 0x50", "UNSUPPORTED")
    bad("opcode", PROTO + b"\xff.", "instruction 0xff", "UNSUPPORTED")
    bad("protocol_0", b"(dp0\n.", "instruction 0x70", "UNSUPPORTED")
    bad("protocol_1", b"\x80\x01}.", "protocol 2 to 5, found 1", "UNSUPPORTED")
    bad("protocol_6", b"\x80\x06}.", "protocol 2 to 5, found 6", "UNSUPPORTED")
    bad("call_call", PROTO + rebuilt() + b")R.", "not a name")
    bad("call_list", PROTO + glob("torch.Size") + b"]R.", "not a name")
    bad("call_keywords", PROTO + glob("torch.Size") + b")]\x92.", "keywords")
    bad("build_name", PROTO + glob("torch.Size") + b"}b.", "state of something")
    bad("build_none", PROTO + b"N}b.", "state of something")
    # The machine.
    bad("empty", b"", "ends early")
    bad("only_stop", PROTO + b".", "empty stack")
    bad("rest", PROTO + b"NN.", "1 values too many")
    bad("mark_left", PROTO + b"(N.", "too many")
    bad("no_stop", PROTO + b"}", "ends early")
    bad("no_mark", PROTO + b"t.", "mark that was not set")
    bad("under_mark", PROTO + b"](a.", "empty stack")
    bad("tuple_short", PROTO + b"N\x87.", "empty stack")
    bad("append_number", PROTO + b"K\x01Na.", "not a list")
    bad("append_tuple", PROTO + b")Na.", "not a list")
    bad("setitem_list", PROTO + b"]NNs.", "not a dict")
    bad("setitems_odd", PROTO + b"}(Nu.", "without values")
    bad("dict_odd", PROTO + b"(Nd.", "without values")
    bad("get_none", PROTO + b"h\x05.", "memo 5")
    bad("get_far", PROTO + b"j\xff\xff\xff\xff.", "memo 4294967295")
    bad("put_far", PROTO + b"Nr\xff\xff\xff\xff.", "memo index 4294967295")
    bad("put_nothing", PROTO + b"q\x00.", "empty stack")
    bad("frame_huge", PROTO + b"\x95" + b"\xff" * 8 + b"}.", "frame of")
    bad("text_huge", PROTO + b"\x8d" + b"\xff" * 8 + b"x.", "ends early")
    bad("text_long", PROTO + b"X\xff\xff\xff\x7f.", "ends early")
    bad("long_long", PROTO + b"\x8b\xff\xff\xff\x7f.", "ends early")
    bad("global_cut", PROTO + b"ccollections\nOrdered", "ends early")
    bad("pairs", PROTO + glob("collections.OrderedDict") + b"(](NetR.", "not pairs")
    items = b"](" + b"NN\x86" * 500 + b"eq\x00" + b"0"
    bad("pairs_bomb", PROTO + b"N" + items + (glob("collections.OrderedDict") + b"q\x010"
        + b"h\x01(h\x00tR0" * 900) + b".", "more items than it has bytes")
    # State dicts that are none.
    bad("root_none", PROTO + b"N.", "expected a state dict", "UNSUPPORTED")
    bad("root_list", PROTO + b"].", "found something else", "UNSUPPORTED")
    bad("root_tensor", PROTO + rebuilt() + b".", "found a single tensor", "UNSUPPORTED")
    bad("root_empty", PROTO + b"}.", "no tensor")
    bad("root_numbers", pickled(("epoch", number(3))), "no tensor")
    bad("only_nested", pickled(("mine", dictionary(("w", rebuilt())))), "no tensor")
    # Names.
    bad("key_nul", pickled(("a\0b", rebuilt())), "without NUL")
    for name, key in [("ff", b"a\xff"), ("cut", b"\xe2\x82"), ("overlong", b"\xc0\x80"), ("overlong3", b"\xe0\x80\x80"),
                      ("overlong4", b"\xf0\x80\x80\x80"), ("surrogate", b"\xed\xa0\x80"), ("beyond", b"\xf4\x90\x80\x80"),
                      ("f5", b"\xf5\x80\x80\x80"), ("alone", b"\x80"), ("broken", b"\xe2x\x80")]:
        bad(f"key_utf8_{name}", pickled((key, rebuilt())), "expected UTF-8")
    # Tensors.
    t = lambda name, words, status="FORMAT", **fields: bad(
        f"tensor_{name}", pickled(("w", rebuilt(**fields))), words, status)
    t("offset", "from byte", offset=1)
    t("offset_negative", "offset from 0 up", offset=-1)
    t("offset_huge", "too large", offset=2**62)
    t("offset_big", "offset from 0 up", offset=2**70)
    t("size", "expected 12 bytes", size=(3,))
    t("size_negative", "number 0 is not", size=(-2,))
    t("size_huge", "too large", size=(2**62, 2**62), stride=(0, 0))
    t("size_text", "tuple as the tensor's size", size=text("2"))
    t("size_rank", "found 17", "UNSUPPORTED", size=(1,) * 17, stride=(1,) * 17)
    t("size_of_size", "tuple as the tensor's size", size=glob("torch.Size") + b")R")
    t("stride_rank", "expected 1 strides", stride=(1, 1))
    t("stride_negative", "tensor's stride", stride=(-1,))
    t("stride_huge", "too large", size=(2, 2), stride=(2**62, 2**62))
    t("stride_far", "expected 16 bytes", stride=(3,))
    t("few_arguments", "expected 6 arguments", more=[])
    t("no_storage", "a storage for", store=b"N")
    t("v3_no_dtype", "expected 7 arguments", function="torch._utils._rebuild_tensor_v3")
    t("v3_dtype", "dtype that can be read, found torch.complex128", "UNSUPPORTED",
      function="torch._utils._rebuild_tensor_v3", more=[b"\x89", b"N", glob("torch.complex128")])
    t("v3_dtype_none", "dtype that can be read, found none", "UNSUPPORTED",
      function="torch._utils._rebuild_tensor_v3", more=[b"\x89", b"N", b"N"])
    t("v3_f4", "float4_e2m1fn_x2 in torch files", "UNSUPPORTED",
      function="torch._utils._rebuild_tensor_v3", more=[b"\x89", b"N", glob("torch.float4_e2m1fn_x2")])
    t("sparse", "_rebuild_sparse_tensor", "UNSUPPORTED", function="torch._utils._rebuild_sparse_tensor")
    t("quantized", "_rebuild_qtensor", "UNSUPPORTED", function="torch._utils._rebuild_qtensor")
    t("neg", "without its 'neg'", "UNSUPPORTED", more=[b"\x89", b"N", dictionary(("neg", b"\x88"))])
    t("conj", "without its 'conj'", "UNSUPPORTED", more=[b"\x89", b"N", dictionary(("conj", b"\x88"))])
    s = lambda name, words, store, status="FORMAT": t(f"storage_{name}", words, status, store=store)
    s("other_key", "its storage '7' is not", storage("7"))
    s("parent_key", "its storage '../data.pkl'", storage("../data.pkl"))
    s("number_key", "text as the key", storage(number(0)))
    s("nul_key", "text as the key", storage(text(b"0\0x")))
    s("count_negative", "size from 0 up", storage(count=-2))
    s("count_huge", "size from 0 up", storage(count=2**62))
    s("count_text", "size from 0 up", storage(count=text("2")))
    s("count_wrong", "expected 12 bytes in storage '0'", storage(count=3))
    s("complex", "found a torch.ComplexDoubleStorage", storage(kind="torch.ComplexDoubleStorage"), "UNSUPPORTED")
    s("type", "a type of storage", storage(kind="torch.float32"))
    s("type_none", "a type of storage", tup(text("storage"), b"N", text("0"), text("cpu"), number(2)) + b"Q")
    s("module", "persistent id", tup(text("module"), b"N", b"N", b"N", b"N") + b"Q")
    s("short", "persistent id", tup(text("storage"), glob("torch.FloatStorage")) + b"Q")
    s("text", "persistent id", text("0") + b"Q")
    s("view", "as the view of a storage", storage("0", 2, "torch.FloatStorage", text("0")))
    s("view_outside", "view of elements 1 to 3", storage("0", 2, "torch.FloatStorage", tup(text("v"), number(1), number(2))))
    s("view_short", "expected 8 bytes from", storage("0", 2, "torch.FloatStorage", tup(text("v"), number(0), number(1))))
    # Odd, but right.
    ok = lambda name, pickle: zip_file(f"ok_pickle_{name}", pickle, "OK")
    ok("self", PROTO + b"}q\x00(" + text("model") + b"h\x00" + text("w") + rebuilt() + b"u.")
    loop = b"}q\x00(" + text("a") + b"h\x00" + text("b") + b"h\x00" + text("w") + rebuilt() + b"u"
    ok("loop", PROTO + dictionary(("model", loop)) + b".")
    layers = b"}q\x00" + b"".join(b"}(" + text("a") + b"h\x00" + text("b") + b"h\x00uq\x00" for _ in range(40))
    layers += b"(" + text("w") + rebuilt() + b"u"
    ok("laughs", PROTO + b"}(" + text("state_dict") + b"]q\x050" + layers + b"u." if False else
       PROTO + b"}q\x010" + b"h\x01" + layers.replace(b"}q\x00", b"}q\x00", 1)[:0] + b"(" + text("w") + rebuilt() + b"u.")
    ok("list_of_itself", PROTO + b"}(" + text("x") + b"]q\x00h\x00a" + text("w") + rebuilt() + b"u.")
    ok("marks", PROTO + b"(" * 5000 + b"1" * 5000 + dictionary(("w", rebuilt())) + b".")
    ok("pops", PROTO + b"N" * 5000 + b"0" * 5000 + b"((00" + dictionary(("w", rebuilt())) + b".")
    ok("deep", PROTO + b"N" + b"\x85" * 100000 + b"0" + dictionary(("w", rebuilt())) + b".")
    ok("again", pickled(("w", number(3)), ("w", rebuilt())))
    ok("pairs", PROTO + glob("collections.OrderedDict") + b"(](" + tup(text("w"), rebuilt()) + b"etR.")
    ok("python2", PROTO + b"}U\x01w" + rebuilt(store=tup(b"U\x07storage", glob("torch.FloatStorage"),
       b"T\x01\x00\x00\x000", b"U\x03cpu", b"\x8a\x01\x02") + b"Q") + b"s.")
    ok("rebuild_v1", pickled(("w", rebuilt(function="torch._utils._rebuild_tensor", more=[]))))
    ok("size_object", pickled(("w", rebuilt(size=glob("torch.Size") + tup(tup(number(2))) + b"R"))))
    ok("view", pickled(("w", rebuilt(storage("0", 2, "torch.FloatStorage", tup(text("v"), number(1), number(1))), size=(1,)))))
    ok("view_none", pickled(("w", rebuilt(storage("0", 2, "torch.FloatStorage", b"N")))))
    ok("unused_storage", pickled(("w", rebuilt()), ("x", storage("9", 5))))
    ok("parameter", pickled(("w", glob("torch.nn.parameter.Parameter") + tup(rebuilt(), b"\x88") + b"R")))
    nested = rebuilt()
    for _ in range(20):
        nested = glob("torch._utils._rebuild_parameter") + tup(nested) + b"R"
    ok("wrapped_deep", pickled(("w", rebuilt()), ("x", nested)))
    ok("from_type", pickled(("w", glob("torch._tensor._rebuild_from_type_v2") + tup(
        glob("torch._utils._rebuild_tensor_v2"), glob("torch.Tensor"),
        rebuilt()[len(glob("torch._utils._rebuild_tensor_v2")):-1], b"}") + b"R")))
    ok("not_negative", pickled(("w", rebuilt(more=[b"\x89", b"N", dictionary(("neg", b"\x89"))]))))
    ok("containers", PROTO + b"\x8f(K\x01M\x01\x02\x90" + b"0(NN\x910(" + b"Nl0(NNd0NN\x860NNN\x870" +
       b"B\x01\x00\x00\x00x0C\x01x0\x8e\x01\0\0\0\0\0\0\0x0\x96\x01\0\0\0\0\0\0\0x0" + b"G" + bytes(8) + b"0"
       + b"\x8a\x000\x8b\x02\0\0\0\xff\xff0N2000" + b"N0" * 0 + b"}0"
       .replace(b"000", b"00") + dictionary(("w", rebuilt())) + b".")
    ok("keywords", pickled(("x", glob("torch.device") + b")}\x92"), ("w", rebuilt())))
    ok("memoize", b"\x80\x04\x95\x05\0\0\0\0\0\0\0}\x94N\x940h\x000h\x01" + b"0" + dictionary(("w", rebuilt())) + b".")
    ok("int_keys", PROTO + b"}(K\x01" + rebuilt() + text("w") + rebuilt() + b"u.")


# ---- torch's older form ----

MAGIC = PROTO + b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
VERSION = PROTO + b"M\xe9\x03."
SYSTEM = PROTO + dictionary(("little_endian", b"\x88")) + b"."


def keys(*names):
    return PROTO + b"](" + b"".join(map(text, names)) + b"e."


def legacy(obj=None, names=None, data=None, magic=MAGIC, version=VERSION, system=SYSTEM):
    obj = pickled(("w", rebuilt())) if obj is None else obj
    names = keys("0") if names is None else names
    data = struct.pack("<qff", 2, 1, 2) if data is None else data
    return magic + version + system + obj + names + data


def make_legacy():
    def bad(name, words, status="FORMAT", **more):
        put(f"bad_legacy_{name}.bin", legacy(**more), status, words)

    put("ok_legacy.bin", legacy(), "OK")
    put("ok_legacy_big_endian.bin", legacy(system=PROTO + dictionary(("little_endian", b"\x89")) + b"."), "OK")
    view = lambda key, first, count: tup(text(key), number(first), number(count))
    root = lambda v: storage("r", 4, "torch.FloatStorage", v)
    parts = pickled(("a", rebuilt(root(view("v1", 0, 2)))), ("b", rebuilt(root(view("v2", 2, 2)))),
                    ("c", rebuilt(root(view("v2", 2, 2)), offset=1, size=(1,))))
    put("ok_legacy_views.bin", legacy(parts, keys("r"), struct.pack("<qffff", 4, 1, 2, 3, 4)), "OK")
    put("ok_legacy_trailing.bin", legacy() + b"more", "OK")
    bad("magic", "the magic number", "UNSUPPORTED", magic=PROTO + b"K\x01.")
    bad("magic_other", "the magic number", "UNSUPPORTED", magic=MAGIC.replace(b"\x19", b"\x18"))
    bad("version", "protocol version 1001", "UNSUPPORTED", version=PROTO + b"M\xea\x03.")
    bad("system", "description of the system", "UNSUPPORTED", system=PROTO + b"N.")
    bad("call", "refers to 'os.system'", "UNSUPPORTED", obj=PROTO + glob("os.system") + tup(text("true")) + b"R.")
    bad("call_in_keys", "refers to 'os.system'", "UNSUPPORTED", names=PROTO + glob("os.system") + b")R.")
    bad("keys_dict", "list of storage keys", names=PROTO + b"}.")
    bad("keys_number", "key of each storage", names=PROTO + b"](K\x00e.")
    bad("keys_twice", "key of each storage once", names=keys("0", "0"))
    bad("keys_unknown", "found '1'", names=keys("1"))
    bad("keys_none", "its storage '0' is not in the file", names=keys())
    bad("count", "expected 2 elements in storage '0', found 3", data=struct.pack("<qfff", 3, 1, 2, 3))
    bad("count_negative", "found -1", data=struct.pack("<qff", -1, 1, 2))
    bad("short", "not complete", data=struct.pack("<qf", 2, 1))
    bad("no_data", "expected 8 bytes", data=b"")
    bad("two_sizes", "two sizes", obj=pickled(("a", rebuilt()), ("b", rebuilt(storage("0", 3)))))
    bad("huge", "not complete", obj=pickled(("a", rebuilt(storage("0", 2**60)))), data=struct.pack("<q", 2**60))
    bad("persistent", "persistent id", obj=pickled(("a", b"NQ")))
    bad("view_missing", "from", obj=pickled(("a", rebuilt(storage("0", 2, "torch.FloatStorage", view("v", 1, 1))))))
    bad("root", "expected a state dict", "UNSUPPORTED", obj=PROTO + b"N.", names=keys(), data=b"")


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    make_safetensors()
    make_indices()
    make_zips()
    make_pickles()
    make_legacy()
    with open(os.path.join(HERE, "verdicts.txt"), "w", encoding="utf-8") as out:
        out.writelines(sorted(verdicts))


if __name__ == "__main__":
    main()
