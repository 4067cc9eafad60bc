"""Identities that merge methods must hold exactly or to rounding: identities.py MERGECRAFT

Each is one or two runs of the command on a small state dict with a matrix, a vector and an
embedding.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

SHAPES = {"block.0.weight": (24, 16), "block.1.weight": (12, 30), "block.1.bias": (12,),
          "embeddings.word_embeddings.weight": (20, 8)}
NEEDED = {"cabs": ["weights=1"], "wudi": ["iterations=5"], "cart": ["rank=1"]}


class Folder:
    def __init__(self, command, folder):
        self.command, self.folder, self.count = command, folder, 0

    def write(self, tensors):
        path = self.folder / f"{self.count}.safetensors"
        self.count += 1
        save_file(tensors, path)
        return str(path)

    def merge(self, method, models, base, *params, then=()):
        out = self.folder / f"out{self.count}"
        self.count += 1
        line = [self.command, "merge", method, *map(self.write, models), "-q", "-o", str(out)]
        line += ["--base", self.write(base)] if base else []
        for param in params:
            line += ["-p", param]
        for name in then:
            line += ["--then", name]
        subprocess.run(line, check=True)
        return load_file(out / "model.safetensors")


def distance(a, b):
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def main(command):
    random = np.random.default_rng(5)
    draw = lambda scale: {n: (scale * random.normal(size=s)).astype(np.float32)
                          for n, s in SHAPES.items()}
    base = draw(1)
    models = [{n: base[n] + t for n, t in draw(.05).items()} for _ in range(3)]
    mean = {n: np.mean([m[n] for m in models], 0, np.float64) for n in base}
    total = {n: base[n] + np.sum([m[n] - base[n] for m in models], 0) for n in base}
    failures = 0

    def hold(what, found, expected, tolerance=1e-6):
        nonlocal failures
        error = distance(found, expected)
        if not error <= tolerance:
            failures += 1
            print(f"{what}: off by {error:.3g}")

    with tempfile.TemporaryDirectory() as name:
        f = Folder(command, pathlib.Path(name))
        listed = subprocess.run([command, "methods", "--json"], capture_output=True, text=True,
                                check=True).stdout
        for method in json.loads(listed)["methods"]:
            # Those with side inputs, which come from data, are compared with torch elsewhere.
            if not method["needs_base"] or ":" in method["name"] or method["sides"]:
                continue
            params = NEEDED.get(method["name"], [])
            hold(f"{method['name']} of models equal to the base",
                 f.merge(method["name"], [base] * 3, base, *params), base)
        hold("iso_c alpha=0", f.merge("iso_c", models, base, "alpha=0"), base)
        hold("tsvm alpha=0", f.merge("tsvm", models, base, "alpha=0"), base)
        hold("tsvm of one model", f.merge("tsvm", models[:1], base), models[0], 1e-5)
        hold("consensus k=0", f.merge("consensus", models, base, "k=0", "alpha=0.3"),
             f.merge("task", models, base, "scaling=sum", "scale=0.3"))
        hold("cart rank=1 scale=1", f.merge("cart", models, base, "rank=1", "scale=1"), mean)
        hold("task scaling=sum scale=1/3",
             f.merge("task", models, base, "scaling=sum", f"scale={1 / 3}"), mean)
        knots = f.merge("knots", models, base, "mode=linear", "topk=100", "scale=1")
        for n in ("block.0.weight", "block.1.weight"):
            hold(f"knots linear, {n}", {n: knots[n]}, {n: mean[n]}, 2e-6)
        for n in ("block.1.bias", "embeddings.word_embeddings.weight"):
            hold(f"knots leaves {n}", {n: knots[n]}, {n: base[n]}, 0)
        scaled = [{n: base[n] + (m[n] - base[n]) / np.sqrt(sum(
            np.sum((m[k] - base[k]).astype(np.float64) ** 2) for k in base)) for n in base}
            for m in models]
        scaled = [{n: t.astype(np.float32) for n, t in m.items()} for m in scaled]
        equal = {n: np.mean([m[n] for m in scaled], 0, np.float64) for n in base}
        hold("metagpt of equal norms", f.merge("metagpt", scaled, base), equal, 2e-6)
        hold("lines beta=0", f.merge("task", models, base, "scaling=sum", "lines.alpha=0.4",
                                     "lines.beta=0", then=["lines"]),
             {n: base[n] + .4 * (total[n] - base[n]) for n in base})
        hold("lines beta=0, alpha from norms",
             f.merge("task", models, base, "scaling=sum", "lines.beta=0", then=["lines"]), mean)
        hold("wudi without iterations", {n: t for n, t in f.merge(
            "wudi", models, base, "iterations=0").items() if n.startswith("block.") and
            n.endswith("weight")}, {n: total[n] for n in total if n.startswith("block.") and
                                    n.endswith("weight")})
        hold("svc of one model", f.merge("task", models[:1], base, "svc.alpha=0.5", then=["svc"]),
             models[0], 1e-5)
        for method in ("opcm", "knots", "pcb", "metagpt", "localize_stitch"):
            first = f.merge(method, models, base)
            hold(f"{method} twice", f.merge(method, models, base), first, 0)
    print(f"{failures} identities do not hold")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
