"""regmean++, adamerging and greedy_soup against torch: data_driven.py MERGECRAFT EXAMPLES

EXAMPLES is the folder examples/ of the repository, whose small models have heads of their own and
share a base. Each method is written again here, from its paper, with transformers' models.
"""
import json
import os
import pathlib
import sys
import tempfile

import torch
import transformers
from beside_torch import check, failures, load, relative, run
from safetensors.torch import load_file

TASKS = {"entailment": ("rte", "sentence1", "sentence2"), "sentiment": ("sst2", "sentence", None)}
EXAMPLES = 12


def examples(path, task, count):
    _, first, second = TASKS[task]
    lines = [json.loads(line) for line in path.read_text().splitlines()[:count]]
    return [(line[first], line[second]) if second else (line[first],) for line in lines]


def regmean(weights, grams, reduce):
    reduced = [reduce * g + (1 - reduce) * torch.diag(g.diagonal()) for g in grams]
    right = sum(g @ w.double().T for g, w in zip(reduced, weights))
    return torch.linalg.solve(sum(reduced), right).T.float()


def mean(tensors):
    return (sum(t.double() for t in tensors) / len(tensors)).float()


@torch.no_grad()
def regmean_plus(models, inputs, reduce):
    """The merged state dict of the encoder, block by block."""
    bodies = [m.bert for m in models]
    merged = {}
    embeddings = [b.embeddings for b in bodies]
    for name, _ in embeddings[0].named_parameters():
        merged[f"bert.embeddings.{name}"] = mean([e.get_parameter(name) for e in embeddings])
    target = models[0].bert
    saved = {k: v.clone() for k, v in target.state_dict().items()}
    for name, p in target.embeddings.named_parameters():
        p.copy_(merged[f"bert.embeddings.{name}"])
    states = [[target.embeddings(**{k: v for k, v in x.items() if k != "attention_mask"})
               for x in task] for task in inputs]
    target.load_state_dict(saved)
    for index in range(len(target.encoder.layer)):
        blocks = [b.encoder.layer[index] for b in bodies]
        grams = [observe(block, task) for block, task in zip(blocks, states)]
        values = {}
        for name, _ in blocks[0].named_parameters():
            weights = [b.get_parameter(name).clone() for b in blocks]
            linear = name.removesuffix(".weight")
            values[name] = regmean(weights, [g[linear] for g in grams], reduce) \
                if linear in grams[0] and name.endswith(".weight") else mean(weights)
        for name, value in values.items():
            merged[f"bert.encoder.layer.{index}.{name}"] = value
            blocks[0].get_parameter(name).copy_(value)
        states = [[first(blocks[0](x)) for x in task] for task in states]
    return merged


def first(output):
    return output[0] if isinstance(output, tuple) else output


def observe(block, task):
    grams, handles = {}, []
    rows = sum(x.shape[0] * x.shape[1] for x in task)

    def hook(name):
        def add(module, args):
            x = args[0].reshape(-1, args[0].shape[-1]).double()
            grams[name] = grams.get(name, 0) + x.T @ x / rows
        return add

    for name, module in block.named_modules():
        if isinstance(module, torch.nn.Linear):
            handles.append(module.register_forward_pre_hook(hook(name)))
    for x in task:
        block(x)
    for handle in handles:
        handle.remove()
    return grams


def adamerging(models, base, inputs, steps, per_task, lr):
    """Coefficients by name, a list with one per model."""
    states = [m.state_dict() for m in models]
    names = [n for n in states[0]
             if n in base and "pooler" not in n and states[0][n].is_floating_point()]
    shape = (len(models),) if per_task else (len(names), len(models))
    raw = torch.full(shape, .3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([raw], lr=lr)
    for _ in range(steps):
        factors = raw.clamp(0, 1)
        loss = 0
        for t, (model, task) in enumerate(zip(models, inputs)):
            weights = {}
            for i, n in enumerate(names):
                row = factors if per_task else factors[i]
                weights[n] = base[n].double() + sum(row[k] * (s[n].double() - base[n].double())
                                                    for k, s in enumerate(states))
            weights = {n: weights.get(n, v.double()) for n, v in states[t].items()}
            for x in task:
                logits = torch.func.functional_call(model.double(), weights, (), x).logits
                log = logits.log_softmax(-1)
                loss = loss - (log.exp() * log).sum() / len(task)
        adam.zero_grad()
        loss.backward()
        adam.step()
    factors = raw.detach().clamp(0, 1)
    return {n: (factors if per_task else factors[i]) for i, n in enumerate(names)}


def check_regmean_plus(command, folders, lists, inputs, work):
    out = work / "regmean"
    run(command, "merge", "regmean++", *folders, *lists, "-p", "reduce=.9",
        "--exclude", "classifier.*", "--dtype", "f32", "-o", out, "-q")
    expected = regmean_plus([load(f)[0] for f in folders], inputs, .9)
    found = load_file(out / "model.safetensors")
    worst = max((relative(found[n], v), n) for n, v in expected.items())
    # float32 activations of few examples: Gram matrices are badly conditioned.
    check("regmean++", worst[0] <= 1e-3, f"{worst[0]:.2g} {worst[1]}")


def check_adamerging(command, folders, lists, inputs, base, work):
    for mode in "layer", "task":
        out = work / mode
        run(command, "merge", "adamerging", *folders, *lists, "--base", base, "-p", "steps=4",
            "-p", "lr=.02", "-p", f"mode={mode}", "--exclude", "classifier.*", "--dtype", "f32",
            "-o", out, "-q")
        before = load_file(base / "model.safetensors")
        expected = adamerging([load(f)[0] for f in folders], before, inputs, 4, mode == "task", .02)
        found = load_file(out / "model.safetensors")
        states = [load_file(f / "model.safetensors") for f in folders]
        worst = 0, ""
        for n, factors in expected.items():
            task = sum(k.item() * (s[n].double() - before[n].double())
                       for k, s in zip(factors, states))
            # A bias of keys changes no score of a row of softmax: its gradient is rounding.
            if task.norm() > 0 and not n.endswith("key.bias"):
                worst = max(worst, (relative(found[n].double() - before[n].double(), task), n))
        check(f"adamerging mode={mode}", worst[0] <= 1e-3, f"{worst[0]:.2g} {worst[1]}")


def accuracy(command, model, data):
    scores = json.loads(run(command, "eval", model, "rte", "--data", data, "--json", "-q"))
    return scores["metrics"]["accuracy"]


def check_greedy_soup(command, folders, data, work):
    scores = [accuracy(command, f, data) for f in folders]
    order = sorted(range(len(folders)), key=lambda i: scores[i])[::-1]
    members, best = [order[0]], scores[order[0]]
    for index in order[1:]:
        tried = [folders[i] for i in sorted([*members, index])]
        soup = work / "soup"
        run(command, "merge", "soup", *tried, "-o", soup, "-q", "--overwrite")
        score = accuracy(command, soup, data)
        if score > best:
            members, best = [*members, index], score
    out = work / "greedy"
    run(command, "merge", "greedy_soup", *folders, "--task", "rte", "--data", data, "-o", out, "-q")
    record = json.loads((out / "mergecraft.json").read_text())
    expected = [float(i in members) for i in range(len(folders))]
    check("greedy_soup", record["parameters"]["weights"] == expected,
          f"{record['parameters']['weights']} {best:.4f} of {max(scores):.4f}")


def main(command, examples_folder):
    bench, models = examples_folder / "bench", examples_folder / "models"
    folders = [bench / f"{task}-1" for task in TASKS]
    data = [bench / "data" / f"{task}.jsonl" for task in TASKS]
    lists = ["--task", ",".join(task for task, _, _ in TASKS.values()), "--data",
             ",".join(map(str, data)), "--examples", EXAMPLES]
    inputs = []
    for task, folder, path in zip(TASKS, folders, data):
        tokenizer = load(folder)[1]
        inputs.append([dict(tokenizer(*pair, return_tensors="pt", truncation=True))
                       for pair in examples(path, task, EXAMPLES)])
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        os.environ["XDG_CACHE_HOME"] = str(work / "cache")
        check_regmean_plus(command, folders, lists, inputs, work)
        check_adamerging(command, folders, lists, inputs, models / "base", work)
        check_greedy_soup(command, [models / f"rte-{i}" for i in range(1, 6)],
                          models / "data" / "validation.tsv", work)
    return int(bool(failures))


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2])))
