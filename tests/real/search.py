"""Five real fine-tunes: the best scale of `task` that a search finds is the best of a fine grid.

search.py MERGECRAFT DIR DATA, where DIR holds minilm-base and minilm-rte-1 … -5, and DATA RTE as
parquet. The loss on 40 pairs, which is smooth in the scale; 19 levels of 0.05; 12 trials of BOBYQA
and 16 of a coordinate search must find the level, up to half a step.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet

COMMAND, WORK, DATA = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
STEP = 0.05


def search(name: str, space: str, *options: str) -> dict:
    journal = WORK / f"{name}.jsonl"
    journal.unlink(missing_ok=True)
    models = [str(WORK / f"minilm-rte-{i}") for i in range(1, 6)]
    subprocess.run(
        [COMMAND, "search", "task", *models, "--base", str(WORK / "minilm-base"),
         "--passthrough", "classifier.*", "--eval", "rte:loss", "--data", str(WORK / "pairs.tsv"),
         "--space", space, "--strategy", name, *options, "--journal", str(journal), "-q"],
        check=True, stdout=subprocess.DEVNULL)
    return json.loads(journal.read_text().splitlines()[-1])


def main() -> int:
    rows = pyarrow.parquet.read_table(DATA / "validation.parquet").to_pylist()[::7]
    names = ("entailment", "not_entailment")
    with (WORK / "pairs.tsv").open("w") as file:
        file.write("index\tsentence1\tsentence2\tlabel\n")
        for index, row in enumerate(rows):
            texts = [" ".join(row[key].split()).replace('"', "'") for key in
                     ("sentence1", "sentence2")]
            file.write(f"{index}\t{texts[0]}\t{texts[1]}\t{names[row['label']]}\n")
    grid = search("grid", "scale=.4:1.3:19")
    failed = 0
    for name, trials in (("bobyqa", 12), ("coordinate", 16)):
        found = search(name, "scale=.4:1.3", "--trials", str(trials))
        distance = abs(found["parameters"]["scale"] - grid["parameters"]["scale"])
        good = distance <= STEP / 2 + 1e-9 and found["score"] <= grid["score"] + 1e-9
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: scale {found['parameters']['scale']}, loss "
              f"{found['score']:.6f}; grid: {grid['parameters']['scale']}, {grid['score']:.6f}")
    return failed > 0


sys.exit(main())
