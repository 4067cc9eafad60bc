"""Statistics of real fine-tunes against torch: observe.py MERGECRAFT MODELS RTE_FOLDER

Gram matrices (1e-5) and exact Fisher information (1e-4 relative per tensor) of two fine-tuned
MiniLM models on the first RTE pairs, from hooks and autograd in torch; then fisher and regmean
merges, computed in torch from torch's own statistics, which must give the same predictions.
"""
import json
import pathlib
import sys
import tempfile

import pyarrow.parquet
import torch
import transformers
from beside_torch import check, failures, load, relative, run
from safetensors.torch import load_file

EXAMPLES, SCORED = 6, 40


def statistics(folder, pairs):
    model, tokenizer = load(folder)
    grams, rows, fishers, handles = {}, {}, {}, []

    def hook(name):
        def observe(module, args):
            x = args[0].detach().reshape(-1, args[0].shape[-1]).double()
            grams[name] = grams.get(name, 0) + x.T @ x
            rows[name] = rows.get(name, 0) + len(x)
        return observe

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            handles.append(module.register_forward_pre_hook(hook(name)))
    for a, b in pairs:
        logits = model(**tokenizer(a, b, return_tensors="pt", truncation=True)).logits[0]
        for log in logits.log_softmax(-1):
            model.zero_grad()
            log.backward(retain_graph=True)
            for name, p in model.named_parameters():
                if p.grad is not None:
                    square = log.detach().exp().double() * p.grad.double() ** 2 / len(pairs)
                    fishers[name] = fishers.get(name, 0) + square
    return {f"{n}.weight": g / rows[n] for n, g in grams.items()}, fishers


def compare(path, grams, fishers):
    found = load_file(path)
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shared = json.loads(header["__metadata__"]["shared"])
    worst = max((relative(found["grams/" + shared.get(n, n)], g), n) for n, g in grams.items())
    check("Gram matrices", worst[0] <= 1e-5, f"{worst[0]:.2g} {worst[1]}")
    # What is added to all scores of a row of softmax changes nothing: rounding.
    names = [n for n in fishers if not n.endswith("key.bias")]
    worst = max((relative(found["fishers/" + n], fishers[n]), n) for n in names)
    check("Fisher information", worst[0] <= 1e-4, f"{worst[0]:.2g} {worst[1]}")
    check("all tensors", set(shared) | {n[6:] for n in found if n[:6] == "grams/"} == set(grams))


def fisher_merge(states, fishers):
    merged = {}
    for name, first in states[0].items():
        f = [x[name] for x in fishers]
        floor = 1e-3 * sum(x.mean() for x in f) / len(f)
        total = sum(x + floor for x in f)
        merged[name] = sum((x + floor) * s[name].double() for x, s in zip(f, states)) / total
        merged[name] = merged[name].to(first.dtype)
    return merged


def regmean_merge(states, grams):
    merged = {}
    for name, first in states[0].items():
        merged[name] = sum(s[name].double() for s in states) / len(states)
        if name in grams[0]:
            reduced = [.9 * g[name] + .1 * torch.diag(g[name].diagonal()) for g in grams]
            right = sum(g @ s[name].double().T for g, s in zip(reduced, states))
            merged[name] = torch.linalg.solve(sum(reduced), right).T
        merged[name] = merged[name].to(first.dtype)
    return merged


def predictions(model, tokenizer, pairs):
    with torch.no_grad():
        return [model(**tokenizer(a, b, return_tensors="pt", truncation=True)).logits[0]
                for a, b in pairs]


def check_merge(command, method, folders, files, merged, work, rte):
    out = work / method
    run(command, "merge", method, *folders, "--stats", ",".join(map(str, files)), "--dtype", "f32",
        "-o", out, "-q")
    model, tokenizer = load(folders[-1])
    model.load_state_dict(merged)
    ours, _ = load(out)
    # The information of a bias of keys is rounding, see above.
    worst = max((relative(ours.state_dict()[n], v.double()), n) for n, v in merged.items()
                if not n.endswith("key.bias"))
    check(f"{method}: weights", worst[0] <= 1e-4, f"{worst[0]:.2g} {worst[1]}")
    pairs = rte[:SCORED]
    expected = predictions(model, tokenizer, pairs)
    lines = work / f"{method}.lines"
    run(command, "eval", out, "rte", "--data", work / "rte.tsv", "--predictions", lines, "-q")
    found = [json.loads(line)["prediction"] for line in lines.read_text().splitlines()]
    wrong = sum(f != e.argmax().item() for f, e in zip(found, expected))
    check(f"{method}: predictions", len(found) == SCORED and wrong == 0, f"{wrong} differ")


def write_pairs(path, pairs):
    lines = ["\t".join(["index", "sentence1", "sentence2", "label"])]
    lines += [f"{i}\t{a}\t{b}\tentailment" for i, (a, b) in enumerate(pairs)]
    path.write_text("\n".join(lines) + "\n")


def main(command, models, data):
    table = pyarrow.parquet.read_table(data / "validation.parquet").to_pydict()
    rte = [(a, b) for a, b in zip(table["sentence1"], table["sentence2"])
           if not set("\t\n\"") & set(a + b)]
    folders = [models / "minilm-rte-1", models / "minilm-rte-2"]
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        write_pairs(work / "rte.tsv", rte[:SCORED])
        expected, files = [], []
        for index, folder in enumerate(folders):
            files.append(work / f"{index}.stats")
            run(command, "observe", folder, "--gram", "--fisher", "--task", "rte", "--data",
                work / "rte.tsv", "--examples", EXAMPLES, "-o", files[-1], "-q")
            expected.append(statistics(folder, rte[:EXAMPLES]))
            compare(files[-1], *expected[-1])
        states = [load(folder)[0].state_dict() for folder in folders]
        check_merge(command, "fisher", folders, files,
                    fisher_merge(states, [f for _, f in expected]), work, rte)
        check_merge(command, "regmean", folders, files,
                    regmean_merge(states, [g for g, _ in expected]), work, rte)
    return int(bool(failures))


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])))
