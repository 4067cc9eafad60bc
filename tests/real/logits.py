"""Logits of encoders as large as real ones, against transformers (torch, float32).

logits.py BENCH_ENCODER DIR RTE, where DIR holds minilm-rte-1 and -2, and RTE is the validation
split (Parquet). Two real fine-tunes on its 277 pairs, and BERT, RoBERTa and DistilBERT in
their base shapes with random weights on a few sequences. f32: at most 1e-4 from transformers,
the same predictions, and (of one of the two) the same bits on one thread, on two, and in
another order; bf16 (where the CPU has it): at most 5e-2 with random weights. Of the real ones a
few texts lie at an edge, where rounding is amplified, to 5.3e-2 by the same arithmetic in torch
and to 7e-2 by transformers in bf16: 99 % of the logits at most 5e-2, all at most 1e-1, and in
the root mean square at most a quarter more than the same arithmetic in torch. int8 (where the
CPU has it): as far from float32, in the root mean square, as the same arithmetic in torch is, or
up to half as much again (of a few sequences, where that is a matter of chance: three times as
much). It is not the same distance logit by logit: one number that lies between two steps and is
rounded the other way changes what all later ones are rounded to.
"""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy
import pyarrow.parquet
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

COMMAND, WORK, RTE = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
failed = 0


def check(name: str, good: bool, detail: str = "") -> None:
    global failed
    failed += not good
    print(f"{'ok  ' if good else 'FAIL'} {name} {detail}", flush=True)


def ours(folder: Path, ids, types, dtype: str, threads: int) -> numpy.ndarray | None:
    words = [len(ids), *map(len, ids), *(i for s in ids for i in s), *(t for s in types for t in s)]
    numpy.array(words, numpy.int32).tofile(WORK / "ids")
    command = [COMMAND, str(folder), str(WORK / "ids"), dtype, str(threads), "1",
               str(WORK / "logits")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr.strip())
        return None
    return numpy.fromfile(WORK / "logits", numpy.float32).reshape(len(ids), -1)


def theirs(model, ids, types, batch: int) -> numpy.ndarray:
    """Batches are sorted by length and padded with 0, which only BERT takes."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    logits = numpy.empty((len(ids), model.config.num_labels), numpy.float32)
    for at in range(0, len(order), batch):
        some = order[at : at + batch]
        shape = len(some), len(ids[some[-1]])
        padded, kinds, mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
        for row, i in enumerate(some):
            length = len(ids[i])
            padded[row, :length], kinds[row, :length], mask[row, :length] = torch.tensor(ids[
                i]), torch.tensor(types[i]), 1
        more = {"token_type_ids": kinds} if kinds.any() else {}
        with torch.inference_mode():
            logits[some] = model(padded, attention_mask=mask, **more).logits.numpy()
    return logits


def rounded(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = x.abs().amax(-1, keepdim=True) / 127
    return (x / scale).round(), scale


def linear_int8(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Sums in float64, which has all of these whole numbers."""
    (numbers, scale), (weights, weight_scale) = rounded(x), rounded(self.weight)
    sums = numbers.double() @ weights.double().T
    return sums.float() * scale * weight_scale.T + self.bias


def linear_bf16(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(x.bfloat16().float(), self.weight.bfloat16().float(),
                                      self.bias)


def root_mean_square(x: numpy.ndarray) -> float:
    return numpy.sqrt(numpy.square(x).mean())


def compare_bf16(name: str, folder: Path, model, ids, types, exact: numpy.ndarray,
                 batch: int) -> None:
    found = ours(folder, ids, types, "bf16", 2)
    if found is None:
        print(f"skip {name} bf16: not on this CPU")
        return
    far = abs(found - exact)
    if len(ids) < 50:
        check(f"{name} bf16", far.max() <= 5e-2, f"largest difference {far.max():.2g}")
        return
    with mock.patch.object(torch.nn.Linear, "forward", linear_bf16):
        reference = theirs(model, ids, types, batch)
    mine, other = root_mean_square(found - exact), root_mean_square(reference - exact)
    good = far.max() <= 1e-1 and (far <= 5e-2).mean() >= 0.99 and mine <= 1.25 * other
    check(f"{name} bf16", good,
          f"largest difference {far.max():.2g}, off by {mine:.4f}, in torch {other:.4f}")


def compare_int8(name: str, folder: Path, model, ids, types, batch: int) -> None:
    ids, types = ids[:96], types[:96]
    found = ours(folder, ids, types, "int8", 2)
    if found is None:
        print(f"skip {name} int8: not on this CPU")
        return
    back = ours(folder, ids[::-1], types[::-1], "int8", 1)
    check(f"{name} int8 same bits", back is not None and (back[::-1] == found).all())
    exact = theirs(model, ids, types, batch)
    with mock.patch.object(torch.nn.Linear, "forward", linear_int8):
        reference = theirs(model, ids, types, batch)
    mine, other = root_mean_square(found - exact), root_mean_square(reference - exact)
    limit = 1.5 if len(ids) > 50 else 3
    check(f"{name} int8", mine <= limit * other,
          f"off by {mine:.3f}, in torch {other:.3f}, of logits around {exact.std():.2f}")


def compare(name: str, folder: Path, model, ids, types, again: bool = True, batch: int = 1) -> None:
    expected = theirs(model.eval(), ids, types, batch)
    found = ours(folder, ids, types, "f32", 2)
    if found is None:
        check(f"{name} f32", False)
        return
    most = abs(found - expected).max()
    check(f"{name} f32", most <= 1e-4, f"largest difference {most:.2g}")
    check(f"{name} predictions", (found.argmax(1) == expected.argmax(1)).all())
    if again:
        back = ours(folder, ids[::-1], types[::-1], "f32", 1)
        check(f"{name} same bits", back is not None and (back[::-1] == found).all())
        compare_int8(name, folder, model, ids, types, batch)
    compare_bf16(name, folder, model, ids, types, expected, batch)


def real() -> None:
    table = pyarrow.parquet.read_table(RTE).to_pydict()
    tokenizer = AutoTokenizer.from_pretrained(WORK / "minilm-rte-1")
    coded = tokenizer(table["sentence1"], table["sentence2"], truncation=True)
    for i in (1, 2):
        folder = WORK / f"minilm-rte-{i}"
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        compare(folder.name, folder, model, coded["input_ids"], coded["token_type_ids"],
                again=i == 1, batch=8)


def base_shapes() -> None:
    roberta = RobertaConfig(vocab_size=50265, max_position_embeddings=514, layer_norm_eps=1e-5,
                            type_vocab_size=1)
    for kind, config in (
        (BertForSequenceClassification, BertConfig()),
        (RobertaForSequenceClassification, roberta),
        (DistilBertForSequenceClassification, DistilBertConfig()),
    ):
        torch.manual_seed(0)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data += torch.randn_like(parameter) * 0.05
            else:
                parameter.data *= 1.5
        folder = WORK / config.model_type
        model.save_pretrained(folder)
        ids = [torch.randint(0, config.vocab_size, (n,)).tolist() for n in (1, 7, 40, 64, 130, 512)]
        typed = kind is BertForSequenceClassification
        types = [[int(typed and t > len(s) // 2) for t in range(len(s))] for s in ids]
        compare(config.model_type, folder, model, ids, types)


real()
base_shapes()
sys.exit(failed > 0)
