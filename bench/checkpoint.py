"""Writes safetensors files tensor by tensor, so that large ones need little memory."""

import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

WIDTHS = {"F32": 4, "BF16": 2}


def stored(values: np.ndarray, dtype: str) -> bytes:
    """float32 as it is stored; to bfloat16 rounded to nearest even."""
    if dtype == "F32":
        return values.tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()


def write(target: Path, dtype: str, shapes: dict[str, tuple[int, ...]],
          values: Callable[[str, int], np.ndarray]) -> None:
    """`values` gives a tensor's elements by its name and their number. The file appears when it
    is complete."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = math.prod(shape) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(stored(values(name, math.prod(shape)), dtype))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(target)
