#!/usr/bin/env python3
"""Writes the checkpoints that the tests of the readers open, and beside each what must be found
in it.

Run it in this folder with torch and safetensors installed. NAME.expected has a line for each
tensor,

    tensor DTYPE SHAPE HASH NAME        SHAPE: 2,3 (- for a scalar); HASH: FNV-1a of the
    row-major bytes

in the order in which the reader gives them, one `alias NAME TIED_TO` for each name that is left
out, and the format.
"""
import json
import os
import struct
from argparse import Namespace
from collections import OrderedDict

import torch
from safetensors.torch import save_file

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL", torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16",
    torch.complex64: "C64", torch.float8_e8m0fnu: "F8_E8M0",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ", torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
}
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
          torch.float8_e5m2]


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def row_major(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def line(name, dtype, shape, data):
    dimensions = ",".join(map(str, shape)) or "-"
    return f"tensor {dtype} {dimensions} {fnv(data):016x} {name}\n"


def expect(path, form, tensors, aliases=()):
    with open(path + ".expected", "w", encoding="utf-8") as out:
        out.write(f"format {form}\n")
        for name, t in tensors:
            out.write(line(name, NAMES[t.dtype], t.shape, row_major(t)))
        for name, tied_to in aliases:
            out.write(f"alias {name} {tied_to}\n")


def write_raw(path, entries, metadata=None):
    """safetensors by hand: entries are (name, dtype, shape, bytes), in the order of the file."""
    header, at = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, data in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(e[3] for e in entries))


def every_dtype(generator):
    tensors = OrderedDict()
    for dtype in NAMES:
        name = NAMES[dtype].lower()
        if dtype in FLOATS:
            values = torch.randn(3, 5, generator=generator, dtype=torch.float64) * 3
            values[0, :4] = torch.tensor([float("inf"), float("nan"), -0.0, 1e-7])
            tensors[name] = values.to(dtype)
        else:
            count = 15 * torch.empty(0, dtype=dtype).element_size()
            data = torch.randint(0, 256, (count,), generator=generator, dtype=torch.uint8)
            data = data % 2 if dtype == torch.bool else data
            tensors[name] = data.view(dtype).reshape(3, 5)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.empty(0, 3, dtype=torch.float16)
    tensors["größe.重み"] = torch.tensor([1.0, 2.0])
    return tensors


def strided(generator):
    matrix = torch.randn(6, 7, generator=generator)
    cube = torch.randn(3, 4, 5, 2, generator=generator).to(torch.bfloat16)
    return OrderedDict([
        ("matrix", matrix),
        ("transposed", matrix.t()),
        ("slice", matrix[1:5, 2:6]),
        ("every_other", matrix[::2, ::3]),
        ("row", matrix[3]),
        ("column", matrix[:, 3]),
        ("expanded", torch.arange(4.0, dtype=torch.float64).expand(3, 4)),
        ("expanded_column", torch.arange(3).reshape(3, 1).expand(3, 5)),
        ("expanded_scalar", torch.tensor(7, dtype=torch.int16).expand(2, 3)),
        ("cube", cube),
        ("permuted", cube.permute(2, 0, 3, 1)),
        ("permuted_slice", cube.permute(3, 1, 0, 2)[1:, 1:3, :, ::2]),
        ("windows", torch.arange(8, dtype=torch.uint8).unfold(0, 4, 1)),
        ("ones", matrix[2:3, 4:5]),
        ("empty_slice", matrix[2:2]),
    ])


def torch_files(name, value, tensors, aliases=(), protocols=(2,)):
    for protocol in protocols:
        suffix = f"_p{protocol}" if len(protocols) > 1 else ""
        torch.save(value, f"{name}{suffix}.pt", pickle_protocol=protocol)
        expect(f"{name}{suffix}.pt", "torch zip", tensors, aliases)
        torch.save(value, f"{name}{suffix}.bin", pickle_protocol=protocol,
                   _use_new_zipfile_serialization=False)
        expect(f"{name}{suffix}.bin", "torch legacy", tensors, aliases)


def tied(generator):
    embedding = torch.randn(5, 2, generator=generator)
    other = torch.randn(2, 2, generator=generator)
    last = torch.randn(3, generator=generator)
    value = OrderedDict([
        ("cls.decoder.weight", embedding),
        ("bert.embeddings.word_embeddings.weight", embedding),
        ("first", other),
        ("second", other.clone()),
        ("third", other),
        ("fourth", other.view(4)),
        ("fifth", other.t()),
        ("lm_head.weight", last),
        ("encoder.embed_tokens.weight", last),
        ("shared.weight", last),
        ("none", torch.empty(0)),
        ("nothing", torch.empty(0)),
    ])
    aliases = [("cls.decoder.weight", "bert.embeddings.word_embeddings.weight"),
               ("third", "first"),
               ("lm_head.weight", "encoder.embed_tokens.weight"),
               ("shared.weight", "encoder.embed_tokens.weight")]
    left_out = [name for name, _ in aliases]
    return value, [item for item in value.items() if item[0] not in left_out], aliases


def training(generator):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    value = {"epoch": 3, "args": Namespace(lr=0.1, name="x", layers=[1, 2]), "seen": {1, "two"},
             "best": float("inf"), "big": 1 << 70, "negative": -(1 << 40), "raw": b"\x00\xff",
             "device": torch.device("cpu"), "dtype": torch.float16, "size": torch.Size([2, 3]),
             "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state(),
             "none": None, "flag": True, "model": model.state_dict()}
    return value, list(model.state_dict().items())


def parameters(generator):
    plain = torch.nn.Parameter(torch.randn(3, generator=generator))
    marked = torch.nn.Parameter(torch.randn(2, 2, generator=generator), requires_grad=False)
    marked.note = "kept beside the values"
    buffer = torch.nn.Buffer(torch.randn(4, generator=generator))
    return OrderedDict([("plain", plain), ("marked", marked), ("buffer", buffer)])


def old_names(generator):
    value = OrderedDict((name, torch.randn(2, generator=generator)) for name in [
        "bert.LayerNorm.gamma", "bert.LayerNorm.beta", "both.LayerNorm.gamma",
        "both.LayerNorm.weight", "other.gamma", "LayerNorm.gamma.more"])
    return value, list(value.items())


def by_name(names, tensors):
    return [(name, tensors[name]) for name in names]


def sharded(generator):
    t = OrderedDict((name, torch.randn(2, 3, generator=generator)) for name in "abcdef")
    os.makedirs("sharded", exist_ok=True)
    os.makedirs("sharded_bin", exist_ok=True)
    # e is named for the second shard and in both; f is not named at all.
    first = {"b": t["b"], "a": t["a"], "e": t["f"]}
    second = {"c": t["c"], "d": t["d"], "e": t["e"], "f": t["f"]}
    first_name, second_name = "model-00001-of-00002", "model-00002-of-00002"
    for folder, end, write in [("sharded", "safetensors", save_file),
                               ("sharded_bin", "bin", torch.save)]:
        write(first, f"{folder}/{first_name}.{end}")
        write(second, f"{folder}/{second_name}.{end}")
        index = {"metadata": {"total_size": 120},
                 "weight_map": {"d": f"{second_name}.{end}", "a": f"{first_name}.{end}",
                                "b": f"{first_name}.{end}", "c": f"{second_name}.{end}",
                                "e": f"{second_name}.{end}"}}
        stem = "model.safetensors" if end == "safetensors" else "pytorch_model.bin"
        name = f"{stem}.index.json"
        with open(f"{folder}/{name}", "w", encoding="utf-8") as out:
            json.dump(index, out, indent=2)
    expect("sharded", "safetensors", by_name("abcdef", t))
    expect("sharded_bin", "torch zip", by_name("bacdef", t))


def folders(generator):
    """What is taken when a folder holds several."""
    t = [torch.randn(3, generator=generator) for _ in range(4)]
    for folder in ("single", "preferred", "old", "other"):
        os.makedirs(folder, exist_ok=True)
    save_file({"x": t[0]}, "single/model.safetensors")
    expect("single", "safetensors", [("x", t[0])])
    torch.save({"x": t[1]}, "preferred/pytorch_model.bin")
    save_file({"x": t[0]}, "preferred/model.safetensors")
    save_file({"x": t[3]}, "preferred/another.safetensors")
    expect("preferred", "safetensors", [("x", t[0])])
    torch.save({"x": t[1]}, "old/pytorch_model.bin", _use_new_zipfile_serialization=False)
    save_file({"x": t[3]}, "old/another.safetensors")
    expect("old", "torch legacy", [("x", t[1])])
    save_file({"x": t[2]}, "other/any-name.safetensors")
    expect("other", "safetensors", [("x", t[2])])


def safetensors_files(generator):
    tensors = every_dtype(generator)
    entries = [(name, NAMES[t.dtype], list(t.shape), row_major(t)) for name, t in tensors.items()]
    entries += [("f6_e2m3", "F6_E2M3", [2, 4], bytes(range(6))),
                ("f6_e3m2", "F6_E3M2", [4], b"abc"),
                ("f4", "F4", [2, 3], b"\x12\x34\x56"), ("big_scalar", "U64", [], b"12345678")]
    write_raw("dtypes.safetensors", entries, {"format": "pt"})
    with open("dtypes.safetensors.expected", "w", encoding="utf-8") as out:
        out.write("format safetensors\n")
        for name, dtype, shape, data in entries:
            out.write(line(name, dtype, shape, data))
    # The library puts wide dtypes first: the order in the file is not the order of names.
    mixed = {"b": tensors["bf16"], "a": tensors["f64"], "c": tensors["f32"], "d": tensors["scalar"]}
    save_file(mixed, "order.safetensors", metadata={"format": "pt"})
    expect("order.safetensors", "safetensors", by_name("acdb", mixed))


def main():
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(7)
    safetensors_files(generator)
    tensors = every_dtype(generator)
    torch_files("dtypes", tensors, list(tensors.items()), protocols=(2, 3, 4, 5))
    tensors = strided(generator)
    torch_files("strided", tensors, list(tensors.items()))
    torch_files("tied", *tied(generator))
    torch_files("training", *training(generator), protocols=(2, 4))
    tensors = parameters(generator)
    torch_files("parameters", tensors, list(tensors.items()))
    torch_files("old_names", *old_names(generator))
    x, y = torch.ones(2), torch.zeros(3)
    deep = {"state_dict": {"model": {"encoder": {"layer": OrderedDict(w=x)}, "b": y, 3: x}}, "t": y}
    torch_files("nested", deep, [("encoder.layer.w", x), ("b", y)])
    torch_files("module", {"module": {"w": x}, "step": torch.tensor(4)}, [("w", x)])
    torch_files("flat", {"w": x, "inner": {"bias": y}, "n": 3}, [("w", x), ("inner.bias", y)])
    sharded(generator)
    folders(generator)


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    main()
