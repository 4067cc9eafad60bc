"""Research methods against golden vectors: research_methods.py MERGECRAFT methods-golden.json

Each case becomes safetensors files and one run of the command; the result is compared within the
tolerance that the file states. Prints a line per method and exits with 1 if a case fails.
"""
import base64
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

# A single tensor counts as a weight of a block; embeddings and heads are not decomposed.
NAME = "block.0.weight"
# Parameters of the file that state how the reference was run, not what the method computes.
IGNORED = {"null"}
RENAMED = {"subspace_boost": "boost"}


def array(item):
    data = np.frombuffer(base64.b64decode(item["b64"]), np.dtype(item["dtype"]))
    return data.reshape(item["shape"])


def tensors(item):
    if "b64" in item:
        return {NAME: array(item)}
    return {name: array(value) for name, value in item.items()}


def side_tensors(item, model):
    """A side input of a whole model may be one vector of all its tensors, in their order."""
    named = tensors(item)
    if "b64" in model or "b64" not in item:
        return named
    flat, result = named[NAME], {}
    for name, tensor in tensors(model).items():
        result[name], flat = flat[:tensor.size].reshape(tensor.shape).copy(), flat[tensor.size:]
    return result


def arguments(method, params):
    for name, value in params.items():
        if name in IGNORED:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        yield from ("-p", f"{method}.{name}={text}" if method in ADD_ONS else f"{name}={text}")


ADD_ONS = {"lines", "svc", "boost"}


def run(command, case, folder, task=None):
    method = RENAMED.get(case["method"], case["method"])
    inputs, line = case["inputs"], [command, "merge", "task" if method in ADD_ONS else method]
    for index, model in enumerate(inputs["models"]):
        save_file(tensors(model), folder / f"model{index}.safetensors")
        line.append(str(folder / f"model{index}.safetensors"))
    if inputs["base"] is not None:
        save_file(tensors(inputs["base"]), folder / "base.safetensors")
        line += ["--base", str(folder / "base.safetensors")]
    for name, items in () if method in ADD_ONS else inputs["extra"].items():
        for index, item in enumerate(items):
            save_file(side_tensors(item, inputs["models"][index]),
                      folder / f"{name}{index}.safetensors")
        files = ",".join(str(folder / f"{name}{i}.safetensors") for i in range(len(items)))
        line += ["--side", f"{name}={files}"]
    line += list(arguments(method, case["params"]))
    if task is not None:
        line += ["-p", f"task={task + 1}"]
    if method == "svc":
        line += merge_of(case)
    if method in ADD_ONS:
        line += ["--then", method]
    done = subprocess.run([*line, "-q", "-o", str(folder / "out")], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()
    return load_file(folder / "out" / "model.safetensors"), ""


def decompress(command, case, folder, task):
    """As run, of a task of emr, by way of the unified model and its masks."""
    _, message = run(command, case, folder)
    if message:
        return None, message
    done = subprocess.run(
        [command, "decompress", str(folder / "out"), str(task + 1), "-q", "-o",
         str(folder / "task")], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()
    return load_file(folder / "task" / "model.safetensors"), ""


def merge_of(case):
    """How the merge that svc calibrates was made: its factor is in the notes."""
    factor = re.search(r"base\+([0-9.]+)\*sum", case["notes"])[1]
    return ["-p", "scaling=sum", "-p", f"scale={factor}"]


def compare(command, case, expected, task=None, way=run):
    with tempfile.TemporaryDirectory() as name:
        found, message = way(command, case, pathlib.Path(name), task)
    if found is None:
        return message
    tolerance = case["tolerance"]
    for name, values in expected.items():
        limit = tolerance["atol"] + tolerance["rtol"] * np.abs(values)
        error = np.abs(found[name].astype(np.float64) - values)
        if not np.all(error <= limit):
            return f"{name}: off by {error.max():.3g}, allowed {limit.min():.3g}"
    return ""


def models_of(output):
    """The expected tensors of each task, of a method that makes one model per task."""
    if isinstance(output, list):
        return [tensors(item) for item in output]
    models = {}
    for key, value in output.items():
        task, name = key.split(".", 1)
        models.setdefault(int(task), {})[name] = array(value)
    return [models[task] for task in sorted(models)]


def check(command, case):
    if case["method"] != "emr":
        return compare(command, case, tensors(case["output"]))
    messages = [compare(command, case, expected, task, way)
                for task, expected in enumerate(models_of(case["output"]))
                for way in (run, decompress)]
    return next(filter(None, messages), "")


def main(command, path, wanted):
    results = {}
    for case in json.loads(pathlib.Path(path).read_text())["cases"]:
        if wanted and case["method"] not in wanted:
            continue
        message = check(command, case)
        results.setdefault(case["method"], []).append(message)
        if message:
            print(f"{case['id']}: {message}")
    for method, messages in results.items():
        print(f"{method}: {messages.count('')} of {len(messages)} passed")
    return int(any(message for messages in results.values() for message in messages))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], set(sys.argv[3:])))
