#!/usr/bin/env python3
"""Writes checkpoints as training programs and quantisers save them, beside those of
make_checkpoints.py.

Run it in this folder with torch, numpy and safetensors installed. What must be found is computed
by torch: FP8 tensors times their scales in float32, rounded once to bfloat16.
"""
import os
import sys
import types

import numpy
import torch
from make_checkpoints import expect, torch_files
from safetensors.torch import save_file


def lightning_class(name, bases=()):
    """A class of a module that the reader of the file does not have."""
    module = sys.modules.setdefault("lightning_callbacks", types.ModuleType("lightning_callbacks"))
    made = type(name, bases, {"__module__": "lightning_callbacks"})
    setattr(module, name, made)
    return made


def training_files(x, y):
    optimizer = {"state": {0: {"exp_avg": y}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    torch_files("averaged", {"params": {"w": x}, "params_ema": {"w": y}}, [("w", y)])
    torch_files("generator", {"generator": {"w": x, "b": y}, "optimizer": optimizer, "epoch": 3},
                [("w", x), ("b", y)])
    checkpoint = lightning_class("ModelCheckpoint")
    settings = lightning_class("AttributeDict", (dict,))
    history = lightning_class("History", (list,))
    torch_files("lightning", {
        "epoch": 1, "state_dict": settings({"net.w": x, "net.b": y}),
        "optimizer_states": [optimizer],
        "callbacks": {checkpoint: {"best": 0.5, "state": checkpoint()}},
        "hyper_parameters": settings(lr=float("inf"), history=history([1, 2]))},
        [("net.w", x), ("net.b", y)], protocols=(2, 4))
    torch_files("mixed", {"w": x, "head": {"weight": y}, "array": numpy.ones(2, numpy.float32),
                          "scale": 0.5},
                [("w", x), ("head.weight", y)])


def refused_files(x, y):
    torch.save({"generator": {"w": x}, "discriminator": {"w": y}}, "refused/two_dicts.pt")
    torch.save({"epoch": 3, "net": lightning_class("Net")()}, "refused/whole_module.pt")
    torch.save(lightning_class("Net")(), "refused/object.pt")
    torch.save([x, y], "refused/list.pt")


def blocks(weight, scale, rows, columns):
    full = scale.float().repeat_interleave(rows, -2).repeat_interleave(columns, -1)
    return weight.float() * full[..., : weight.shape[-2], : weight.shape[-1]]


def fp8_files(generator):
    def fp8(*shape, dtype=torch.float8_e4m3fn):
        return (torch.randn(*shape, generator=generator) * 50).to(dtype)

    def scales(*shape):
        return torch.rand(*shape, generator=generator) * 0.01 + 1e-4

    tensors, expected = {}, {}

    def add(name, weight, scale, value, ending="weight_scale_inv"):
        tensors[f"{name}.weight"] = weight
        tensors[f"{name}.{ending}"] = scale
        expected[f"{name}.weight"] = value.to(torch.bfloat16)

    w, s = fp8(130, 200), scales(2, 2)
    add("blocks", w, s, blocks(w, s, 128, 128))
    w, s = fp8(6, 8), scales(3, 2)
    add("grid", w, s, blocks(w, s, 2, 4))
    w, s = fp8(5, 7, dtype=torch.float8_e5m2), scales(1)
    add("tensor", w, s, w.float() * s, "weight_scale")
    w, s = fp8(5, 7), scales(5, 1).to(torch.bfloat16)
    add("rows", w, s, w.float() * s.float(), "weight_scale")
    w, s = fp8(5, 7), scales(5)
    add("flat_rows", w, s, w.float() * s[:, None], "weight_scale")
    w, s = fp8(2, 4, 6), scales(2, 2, 3)
    add("experts", w, s, blocks(w, s, 2, 2))
    w, s = fp8(4, 64), torch.tensor([[120, 127], [130, 126]],
                                    dtype=torch.uint8).view(torch.float8_e8m0fnu)
    add("powers", w, s, blocks(w, s, 2, 32))
    w, s = fp8(3, 4), scales(1)[0]
    add("comfy", w, s, w.float() * s, "scale_weight")
    tensors["tensor.input_scale"] = scales(1)
    tensors["norm.weight"] = expected["norm.weight"] = torch.ones(5)
    save_file(tensors, "fp8.safetensors", metadata={"format": "pt"})
    # The library puts wide dtypes first; the dequantised tensors have the places of the FP8 ones.
    order = [n for n in header_order("fp8.safetensors") if n in expected]
    expect("fp8.safetensors", "safetensors", [(n, expected[n]) for n in order])


def header_order(path):
    import json
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return sorted(header, key=lambda name: header[name]["data_offsets"])


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    os.makedirs("refused", exist_ok=True)
    generator = torch.Generator().manual_seed(20)
    x, y = torch.randn(2, generator=generator), torch.randn(3, generator=generator)
    training_files(x, y)
    refused_files(x, y)
    fp8_files(generator)
