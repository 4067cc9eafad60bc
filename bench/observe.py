"""Speed of statistics and of RegMean beside torch: observe.py MERGECRAFT RTE_PARQUET [SHAPE]

A BERT of random weights and BERT-base's shapes (SHAPE: layers x hidden, default 12x768). Prints
CPU seconds on one thread, which other processes disturb little, of: the exact Fisher
information, in torch one example at a time with two backward passes; Gram matrices of RTE pairs
beside the forward pass of the same build; the solves of RegMean.
"""
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import pyarrow.parquet
import torch
import transformers
from safetensors.torch import save_file

FISHER, PAIRS = int(os.environ.get("FISHER", "8")), int(os.environ.get("PAIRS", "277"))


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


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*arguments):
    """Returns the CPU seconds."""
    before = cpu_of_children()
    done = subprocess.run([*map(str, arguments), "--threads", "1", "-q"], capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return cpu_of_children() - before


def torch_fisher(model, inputs):
    start = time.process_time()
    total = [torch.zeros_like(p) for p in model.parameters()]
    for x in inputs:
        log = model(**x).logits[0].log_softmax(-1)
        for label in range(2):
            gradients = torch.autograd.grad(log[label], list(model.parameters()),
                                            retain_graph=label == 0)
            for sum_, g in zip(total, gradients):
                sum_ += log[label].detach().exp() * g.square()
    return (time.process_time() - start) / len(inputs)


def torch_solve(width, rows):
    grams = [torch.randn(2 * width, width) for _ in range(5)]
    grams = [g.T @ g / len(g) for g in grams]
    weights = [torch.randn(rows, width) for _ in range(5)]
    start = time.process_time()
    reduced = [.9 * g + .1 * torch.diag(g.diagonal()) for g in grams]
    right = sum(g @ w.T for g, w in zip(reduced, weights))
    result = torch.inverse(sum(reduced)) @ right
    return time.process_time() - start, grams, weights, result.T


def own_solve(command, grams, weights, work):
    name = "block.0.weight"
    for i, (g, w) in enumerate(zip(grams, weights)):
        save_file({name: w}, work / f"m{i}.safetensors")
        save_file({name: g}, work / f"g{i}.safetensors")
    return run(command, "merge", "regmean", *[work / f"m{i}.safetensors" for i in range(5)],
               "--side", "grams=" + ",".join(str(work / f"g{i}.safetensors") for i in range(5)),
               "-o", work / "solved", "--no-sync", "--overwrite")


def main(command, rte, shape="12x768"):
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
            return run(command, "observe", work / "bert", *what, "--task", "rte", "--data", data,
                       "-o", work / "stats", "--overwrite")

        gram = observe("--gram")
        forward = run(command, "eval", work / "bert", "rte", "--data", data)
        print(f"Gram matrices of {len(pairs)} pairs: {gram:.2f} s, forward pass {forward:.2f} s: "
              f"{gram / forward:.2f}")
        # The same examples on both sides, as time is proportional to their tokens.
        one = (observe("--fisher", "--examples", str(FISHER + 1)) -
               observe("--fisher", "--examples", "1")) / FISHER
        tokenizer = transformers.BertTokenizerFast(str(work / "bert" / "vocab.txt"))
        inputs = [dict(tokenizer(*p, return_tensors="pt", truncation=True))
                  for p in pairs[:FISHER + 1]]
        torch_fisher(model, inputs[:1])
        other = torch_fisher(model, inputs[1:])
        print(f"exact Fisher per example: {one:.3f} s, torch {other:.3f} s: {other / one:.1f} x")
        for width, rows in (hidden, hidden), (hidden, 4 * hidden), (4 * hidden, hidden):
            other, grams, weights, _ = torch_solve(width, rows)
            one = own_solve(command, grams, weights, work)
            print(f"RegMean {rows} x {width}, five models: {one:.2f} s, torch.inverse "
                  f"{other:.2f} s: {other / one:.1f} x")


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    sys.exit(main(*sys.argv[1:]))
