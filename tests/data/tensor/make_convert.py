"""Writes convert.txt: checksums of what torch and ml_dtypes make of every float32 in the
narrower formats, and back.

Both must agree first, except above F8_E4M3's range, where ml_dtypes (and torch before 2.13)
gives NaN and newer
torch the largest number: we give NaN. A NaN counts as one value, without sign and payload. Lines:

    widen DTYPE checksum            of the float32 bits of all bit patterns of DTYPE
    dense DTYPE checksum            of 2^24 patterns spread over all float32: i << 8 | (37 * i &
    255)
    block DTYPE number checksum     of the 2^24 float32 patterns from number << 24 on

The checksum of x[0], x[1], … is the sum of (x[i] + 1) * (2 * i + 1) * 0x9e3779b97f4a7c15 modulo
2^64.

    python tests/data/tensor/make_convert.py
"""

import multiprocessing
import pathlib

import ml_dtypes
import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
BLOCK = 1 << 24
PIECE = 1 << 16  # fits the cache
# name: torch's dtype, ml_dtypes' or numpy's, unsigned integer of its size, NaN
FORMATS = {
    "F16": (torch.float16, np.float16, np.uint16, 0x7E00),
    "BF16": (torch.bfloat16, ml_dtypes.bfloat16, np.uint16, 0x7FC0),
    "F8_E4M3": (torch.float8_e4m3fn, ml_dtypes.float8_e4m3fn, np.uint8, 0x7F),
    "F8_E5M2": (torch.float8_e5m2, ml_dtypes.float8_e5m2, np.uint8, 0x7E),
}
WEIGHTS = (2 * np.arange(BLOCK, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)


def checksum(bits, start=0):
    return int(((bits.astype(np.uint64) + np.uint64(1)) * WEIGHTS[start : start + len(bits)]).sum())


def narrowed(patterns, name):
    torch_dtype, dtype, integer, nan = FORMATS[name]
    values = patterns.view(np.float32)
    missing = np.isnan(values)
    with np.errstate(all="ignore"):
        one = values.astype(dtype).view(integer).copy()
        two = torch.from_numpy(values).to(torch_dtype).view(torch.uint8).numpy().view(
            integer).copy()
    rest = integer((1 << 8 * np.dtype(integer).itemsize - 1) - 1)
    lost = (one & rest) > limit_of(name)
    assert lost[missing].all() and ((two & rest)[missing] > limit_of(name)).all()
    one[lost] = nan
    two[lost if name == "F8_E4M3" else (two & rest) > limit_of(name)] = nan
    assert (one == two).all(), (name, patterns[one != two][:4], one[one != two][:4],
                                two[one != two][:4])
    return one


def narrowed_sum(name, pattern):
    """The checksum of 2^24 patterns, piece by piece; pattern(i) gives those of the indices i."""
    total = 0
    for start in range(0, BLOCK, PIECE):
        i = np.arange(start, start + PIECE, dtype=np.uint32)
        total += checksum(narrowed(pattern(i), name), start)
    return total % (1 << 64)


def limit_of(name):
    """The largest magnitude that is not NaN."""
    return {"F16": 0x7C00, "BF16": 0x7F80, "F8_E4M3": 0x7E, "F8_E5M2": 0x7C}[name]


def widened(name):
    torch_dtype, dtype, integer, _ = FORMATS[name]
    patterns = np.arange(1 << 8 * np.dtype(integer).itemsize, dtype=np.uint32).astype(integer)
    one = patterns.view(dtype).astype(np.float32)
    two = torch.from_numpy(patterns.copy()).view(torch_dtype).to(torch.float32).numpy()
    assert (np.isnan(one) == np.isnan(two)).all()
    missing = np.isnan(one)
    one, two = one.view(np.uint32).copy(), two.view(np.uint32).copy()
    one[missing] = two[missing] = 0x7FC00000
    assert (one == two).all()
    return one


def line_of(kind, name, block):
    torch.set_num_threads(1)
    if kind == "widen":
        return f"widen {name} {checksum(widened(name)):016x}"
    if kind == "dense":
        sum_ = narrowed_sum(name,
                            lambda i: i << np.uint32(8) | (i * np.uint32(37) & np.uint32(255)))
        return f"dense {name} {sum_:016x}"
    return f"block {name} {block} {narrowed_sum(name, lambda i: i + np.uint32(block << 24)):016x}"


def all_lines():
    for name in FORMATS:
        yield "widen", name, 0
        yield "dense", name, 0
        yield from (("block", name, block) for block in range(256))


if __name__ == "__main__":
    with multiprocessing.Pool() as pool:
        lines = pool.starmap(line_of, all_lines(), chunksize=8)
    (HERE / "convert.txt").write_text("\n".join(lines) + "\n")
