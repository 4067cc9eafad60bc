"""Five real fine-tunes and their merges, scored on RTE by the command and by transformers: the
same predictions.

evaluate.py MERGECRAFT DIR DATA, where DIR holds minilm-base and minilm-rte-1 … -5, and DATA RTE
as parquet.

Tolerances: float32 here and there, with sums in another order: probabilities within 1e-4,
predictions identical. bf16 has 8 bits of mantissa; probabilities within 5e-2. int8 rounds what
one layer gives the next to 255 steps: 97 predictions in 100 are the same (of models that are
hardly better than chance: many pairs lie near the edge), and accuracy is within .015.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

COMMAND, WORK, DATA = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
MODELS = [WORK / f"minilm-rte-{i}" for i in range(1, 6)]
BASE = ["--base", str(WORK / "minilm-base"), "--passthrough", "classifier.*"]
MERGES = {
    "median": [],
    "soup": [],
    "ties": [*BASE, "-p", "k=0.2"],
    "dare": [*BASE, "-p", "p=0.4"],
}
BATCH = 8  # sorted by length: one by one takes three times as long
ROWS = pyarrow.parquet.read_table(DATA / "validation.parquet").to_pylist()
passed = failed = 0


def check(name: str, good: bool, detail: str = "") -> None:
    global passed, failed
    passed, failed = passed + good, failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {name} {detail}", flush=True)


def run(*arguments: str) -> tuple[dict, torch.Tensor]:
    lines = WORK / "lines"
    lines.unlink(missing_ok=True)
    done = subprocess.run(
        [COMMAND, *arguments, "--data", str(DATA), "--predictions", str(lines), "--json", "-q"],
        check=True,
        capture_output=True,
    )
    scores = [json.loads(line)["scores"] for line in lines.read_text().splitlines()]
    return json.loads(done.stdout), torch.tensor(scores, dtype=torch.float64)


def reference(folder: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    coded = [tokenizer(row["sentence1"], row["sentence2"], truncation=True) for row in ROWS]
    order = sorted(range(len(ROWS)), key=lambda i: len(coded[i]["input_ids"]))
    scores = torch.empty(len(ROWS), 2, dtype=torch.float64)
    with torch.inference_mode():
        for at in range(0, len(order), BATCH):
            some = order[at : at + BATCH]
            inputs = tokenizer.pad([coded[i] for i in some], return_tensors="pt")
            scores[some] = torch.softmax(model(**inputs).logits.double(), 1)
    return scores


def compare(name: str, folder: Path, result: dict, scores: torch.Tensor) -> None:
    wanted = reference(folder)
    labels = torch.tensor([row["label"] for row in ROWS])
    accuracy = float((wanted.argmax(1) == labels).double().mean())
    worst = float((scores - wanted).abs().max())
    same = bool((scores.argmax(1) == wanted.argmax(1)).all())
    good = same and worst <= 1e-4 and abs(result["metrics"]["accuracy"] - accuracy) < 1e-12
    check(f"{name} as transformers", good,
          f"accuracy {accuracy:.4f}, largest difference {worst:.2g}")


def compare_bf16(name: str, folder: Path, exact: torch.Tensor) -> None:
    _, scores = run("eval", str(folder), "rte", "--dtype", "bf16")
    worst = float((scores - exact).abs().max())
    check(f"{name} in bf16", worst <= 5e-2, f"largest difference {worst:.2g}")


def compare_int8(name: str, folder: Path, exact: torch.Tensor, accuracy: float) -> None:
    result, scores = run("eval", str(folder), "rte", "--dtype", "int8")
    same = float((scores.argmax(1) == exact.argmax(1)).double().mean())
    found = result["metrics"]["accuracy"]
    check(f"{name} in int8", same >= 0.97 and abs(found - accuracy) <= 0.015,
          f"the same {same:.3f}, accuracy {found:.4f}")


def main() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    bf16, int8 = "avx512_bf16" in flags, "avx512_vnni" in flags or "avx_vnni" in flags
    for folder in MODELS:
        result, scores = run("eval", str(folder), "rte")
        compare(folder.name, folder, result, scores)
        if bf16 and folder == MODELS[0]:
            compare_bf16(folder.name, folder, scores)
        if int8 and folder in MODELS[:3]:
            compare_int8(folder.name, folder, scores, result["metrics"]["accuracy"])
    for method, options in MERGES.items():
        merge = ["merge", method, *map(str, MODELS), *options, "--eval", "rte"]
        memory, in_memory = run(*merge)
        written, scores = run(*merge, "-o", str(WORK / method), "--overwrite")
        same = torch.equal(in_memory,
                           scores) and memory["eval"]["metrics"] == written["eval"]["metrics"]
        check(f"{method} in memory and in a folder", same)
        compare(method, WORK / method, written["eval"], scores)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
