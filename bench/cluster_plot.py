"""Draws how long merges of the largest published shapes would take: cluster_plot.py SVG.

The bytes are those of docs/scaling.md (soup of three models and a base, planned by shares.c); a
process computes nothing else than its share, and balance is 1.000. One process runs per node. The
bandwidths are assumptions: a local NVMe disk at 7 GB/s; a parallel file system that gives a node 5
GB/s and all nodes together 200 GB/s. Needs matplotlib.
"""

import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

NODE, SYSTEM, DISK = 5e9, 200e9, 7e9
BYTES = {"DeepSeek-V3": 5.48e12, "Llama 3.1, 405 B": 3.24e12, "Qwen3, 235 B": 1.88e12}
NODES = [2**i for i in range(10)]

plt.rcParams["svg.fonttype"] = "none"
plt.rcParams["svg.hashsalt"] = "mergecraft"
figure, axis = plt.subplots(figsize=(6, 3.6))
for name, size in BYTES.items():
    lines = axis.plot(NODES, [size / min(n * NODE, SYSTEM) / 60 for n in NODES], "o-",
                      markersize=3, label=name)
    axis.axhline(size / DISK / 60, linestyle=":", color=lines[0].get_color())
axis.set_xscale("log", base=2)
axis.set_yscale("log")
axis.set_xticks(NODES, [str(n) for n in NODES])
axis.set_xlabel("nodes of a parallel file system; dotted: one NVMe disk")
axis.set_ylabel("minutes")
axis.legend()
figure.tight_layout()
figure.savefig(sys.argv[1], metadata={"Date": None})
