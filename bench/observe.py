"""Speed of statistics and of RegMean beside torch: observe.py BUILD RTE_PARQUET [SHAPE]

A BERT of random weights and BERT-base's shapes (SHAPE: layers x hidden, default 12x768). Prints
seconds on THREADS threads (all CPUs) on both sides:

- Gram matrices of at most PAIRS (277) RTE pairs, beside the forward pass of the same build and that
  of torch, in padded batches and one pair at a time;
- exact Fisher information of FISHER (32) pairs, in torch one at a time with two backward passes;
- RegMean of BLOCKS (2) blocks of five models, and its solves alone, on one thread.

torch reads and writes no files. The command's time includes starting, reading and writing, except
for the Fisher information: there they cancel out.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pyarrow.parquet
import torch
import transformers
from safetensors.torch import save_file

FISHER, PAIRS = int(os.environ.get("FISHER", "32")), int(os.environ.get("PAIRS", "277"))
THREADS = int(os.environ.get("THREADS", os.cpu_count()))
BLOCKS, MODELS = int(os.environ.get("BLOCKS", "2")), 5


def make_model(folder, layers, hidden, words):
    config = transformers.BertConfig(
        vocab_size=len(words), num_hidden_layers=layers, hidden_size=hidden,
        intermediate_size=4 * hidden, num_attention_heads=hidden // 64, num_labels=2)
    torch.manual_seed(1)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return model


def words_of(pairs):
    found = {word for pair in pairs for text in pair for word in text.lower().split()}
    letters = [chr(c) for c in range(33, 127)]
    return (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters +
            [f"##{c}" for c in letters] + sorted(found - set(letters)))[:30522]


def run(*arguments):
    """Returns the seconds."""
    start = time.perf_counter()
    done = subprocess.run([*map(str, arguments), "--threads", str(THREADS), "-q"],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start


def torch_fisher(model, inputs):
    start = time.perf_counter()
    total = [torch.zeros_like(p) for p in model.parameters()]
    for x in inputs:
        log = model(**x).logits[0].log_softmax(-1)
        for label in range(2):
            gradients = torch.autograd.grad(log[label], list(model.parameters()),
                                            retain_graph=label == 0)
            for sum_, g in zip(total, gradients):
                sum_ += log[label].detach().exp() * g.square()
    return (time.perf_counter() - start) / len(inputs)


def torch_forward(model, tokenizer, pairs, batch):
    start = time.perf_counter()
    with torch.no_grad():
        for i in range(0, len(pairs), batch):
            model(**tokenizer(*map(list, zip(*pairs[i:i + batch])), return_tensors="pt",
                              padding=True, truncation=True))
    return time.perf_counter() - start


def make_blocks(hidden, work):
    shapes = {"query": (hidden, hidden), "key": (hidden, hidden), "value": (hidden, hidden),
              "output": (hidden, hidden), "up": (4 * hidden, hidden), "down": (hidden, 4 * hidden)}
    names = {f"block.{b}.{n}.weight": s for b in range(BLOCKS) for n, s in shapes.items()}
    models, grams = [], []
    for i in range(MODELS):
        inputs = {n: torch.randn(2 * s[1], s[1]) for n, s in names.items()}
        models.append({n: torch.randn(s) for n, s in names.items()})
        grams.append({n: x.T @ x / len(x) for n, x in inputs.items()})
        save_file(models[i], work / f"m{i}.safetensors")
        save_file(grams[i], work / f"g{i}.safetensors")
    return models, grams


def torch_regmean(models, grams):
    """Returns the seconds of all, and those of torch.inverse and the product with it, by shape."""
    start, solves = time.perf_counter(), {}
    for name, weight in models[0].items():
        reduced = [.9 * g[name] + .1 * torch.diag(g[name].diagonal()) for g in grams]
        right = sum(g @ m[name].T for g, m in zip(reduced, models))
        total = sum(reduced)
        begin = time.perf_counter()
        torch.inverse(total) @ right
        solves.setdefault(weight.shape, []).append(time.perf_counter() - begin)
    return time.perf_counter() - start, solves


def own_regmean(command, work):
    paths = [[str(work / f"{kind}{i}.safetensors") for i in range(MODELS)] for kind in "mg"]
    return run(command, "merge", "regmean", *paths[0], "--side", "grams=" + ",".join(paths[1]),
               "-o", work / "solved", "--no-sync", "--overwrite")


def own_solve(build, shape):
    done = subprocess.run([build / "bench" / "bench_solve", *map(str, shape)], check=True,
                          capture_output=True, text=True)
    return float(done.stdout.split()[0])


def compare_regmean(build, hidden, work):
    models, grams = make_blocks(hidden, work)
    other, solves = torch_regmean(models, grams)
    one = own_regmean(build / "mergecraft", work)
    print(f"RegMean of {BLOCKS} blocks: {one:.2f} s, torch {other:.2f} s: {other / one:.1f} x")
    torch.set_num_threads(1)
    _, solves = torch_regmean(models, grams)
    own = {shape: own_solve(build, shape) for shape in solves}
    for shape, times in solves.items():
        print(f"solve {shape[0]} x {shape[1]}, one thread: {own[shape]:.3f} s, torch.inverse "
              f"{min(times):.3f} s: {min(times) / own[shape]:.1f} x")
    total = sum(len(times) * own[shape] for shape, times in solves.items()) / BLOCKS
    other = sum(len(times) * min(times) for times in solves.values()) / BLOCKS
    print(f"all solves of a block: {total:.2f} s, torch {other:.2f} s: {other / total:.1f} x")


def main(build, rte, shape="12x768"):
    build = pathlib.Path(build)
    command = build / "mergecraft"
    layers, hidden = map(int, shape.split("x"))
    table = pyarrow.parquet.read_table(rte).to_pydict()
    pairs = [(a, b) for a, b in zip(table["sentence1"], table["sentence2"])
             if not set("\t\n\"") & set(a + b)][:PAIRS]
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        model = make_model(work / "bert", layers, hidden, words_of(pairs))
        lines = [f"{i}\t{a}\t{b}\tentailment" for i, (a, b) in enumerate(pairs)]
        data = work / "rte.tsv"
        data.write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *lines]) + "\n")

        def observe(*what):
            # ext4 flushes a file that replaces another one, for up to 2 s.
            (work / "stats").unlink(missing_ok=True)
            return run(command, "observe", work / "bert", *what, "--task", "rte", "--data", data,
                       "-o", work / "stats")

        gram = observe("--gram")
        forward = run(command, "eval", work / "bert", "rte", "--data", data)
        print(f"Gram matrices of {len(pairs)} pairs: {gram:.2f} s, forward pass {forward:.2f} s: "
              f"{gram / forward:.2f}")
        tokenizer = transformers.BertTokenizerFast(str(work / "bert" / "vocab.txt"))
        for batch in (32, 1):
            other = torch_forward(model, tokenizer, pairs, batch)
            print(f"torch's forward pass, batches of {batch}: {other:.2f} s: {gram / other:.2f}")
        # The same examples on both sides, as time is proportional to their tokens.
        one = (observe("--fisher", "--examples", str(FISHER + 1)) -
               observe("--fisher", "--examples", "1")) / FISHER
        inputs = [dict(tokenizer(*p, return_tensors="pt", truncation=True))
                  for p in pairs[:FISHER + 1]]
        torch_fisher(model, inputs[:1])
        other = torch_fisher(model, inputs[1:])
        print(f"exact Fisher per example: {one:.3f} s, torch {other:.3f} s: {other / one:.1f} x")
        compare_regmean(build, hidden, work)


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    transformers.utils.logging.set_verbosity_error()
    sys.exit(main(*sys.argv[1:]))
