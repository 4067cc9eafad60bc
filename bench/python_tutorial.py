"""The tutorial's median of five BERT-base models on RTE, from ids to accuracy: the plain Python
way beside mergecraft.

python_tutorial.py DIR TOKENIZER RTE [ROUNDS]
    DIR: where five models are made if they are not there (2.2 GB); TOKENIZER: a folder with the
    tokenizer of bert-base-uncased; RTE: a file or folder with RTE's validation split

Each way runs in a process of its own, in turn; times begin after the imports. Memory is the peak
of the process: of what is resident, and of what is anonymous, that is without pages of mapped
files, which the system can drop (sampled).
    plain    transformers pipelines loaded one by one, torch per layer, the merged pipeline
    called on every pair
    ours     the tutorial's cells: @dict_map, @model_merge, evaluate_glue_pipeline; with
    dtype='bf16' as well folders  merge and save: plain loading, torch, save_pretrained; the
    tutorial's median to_folder; the built-in median
"""

import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path


def make(folder: Path, tokenizer: str) -> list[str]:
    paths = [folder / f"m{i}" for i in range(1, 6)]
    if not all((path / "config.json").exists() for path in paths):
        import torch
        from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

        torch.manual_seed(0)
        model = BertForSequenceClassification(BertConfig(num_labels=2))
        for path in paths:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 1e-3)
            model.save_pretrained(path)
            AutoTokenizer.from_pretrained(tokenizer).save_pretrained(path)
    return [str(path) for path in paths]


def median_plainly(paths):
    """Five pipelines, one function a layer, a sixth pipeline for the result."""
    import torch
    from transformers import pipeline

    pipelines = [pipeline("text-classification", model=path, device="cpu") for path in paths]
    layers = [dict(one.model.named_parameters()) for one in pipelines]
    with torch.no_grad():
        merged = {n: torch.median(torch.stack([one[n] for one in layers]), dim=0).values
                  for n in layers[0]}
    result = pipeline("text-classification", model=paths[-1], device="cpu")
    result.model.load_state_dict(merged, strict=False)
    return result


def accuracy_plainly(pipeline, rte):
    """Called on one pair after the other."""
    from mergecraft import _core

    examples = _core.Glue("rte", "validation", rte).examples()
    right = sum(
        (pipeline({"text": a, "text_pair": b})["label"] != "LABEL_0") == bool(label) for a, b,
        label in examples
    )
    return right / len(examples)


def run(way: str, paths: list[str], rte: str, out: str) -> dict[str, float]:
    import torch
    import transformers.pipelines  # noqa: F401

    import mergecraft
    from mergecraft import dict_map, evaluate_glue_pipeline, model_merge

    # noqa: B018  # imports, not work
    transformers.BertForSequenceClassification, transformers.AutoTokenizer

    @dict_map
    def median_layer_merging(models, **kw):
        return torch.median(torch.stack(models), dim=0).values

    @model_merge
    def median(models, **kw):
        return median_layer_merging(models)

    start = time.perf_counter()
    result = {}
    if way.startswith("plain"):
        merged = median_plainly(paths)
        result["merge"] = time.perf_counter() - start
        if way == "plain":
            result["accuracy"] = accuracy_plainly(merged, rte)
        else:
            merged.model.save_pretrained(out)
            merged.tokenizer.save_pretrained(out)
    elif way.startswith("ours"):
        merged = median(paths, task="text-classification")
        result["merge"] = time.perf_counter() - start
        dtype = "bf16" if way.endswith("bf16") else "f32"
        result["accuracy"] = evaluate_glue_pipeline(merged, "rte", data=rte,
                                                    dtype=dtype)["accuracy"]
    elif way == "folder, own median":
        median.to_folder(paths, out, overwrite=True, sync=False)
    elif way == "folder, built-in median":
        mergecraft.median(paths, out=out, overwrite=True, sync=False)
    result["seconds"] = time.perf_counter() - start
    result["MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return result


def anonymous_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines()
               if line.startswith("RssAnon"))


def measured(arguments: list) -> dict[str, float]:
    """One way in a process of its own: what it says, and the most anonymous memory that it had."""
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True)
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, anonymous_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode != 0:
        sys.exit(f"failed: {arguments[0]}")
    return {**json.loads(output.splitlines()[-1]), "anonymous": peak / 1e6}


WAYS = ("plain", "ours", "ours, bf16", "plain, to a folder", "folder, own median",
        "folder, built-in median")


def main() -> None:
    folder, tokenizer, rte = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    paths = make(folder, tokenizer)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            found[way].append(measured([way, paths, rte, str(folder / "out")]))
            print(way, found[way][-1], file=sys.stderr, flush=True)
    print("| way | seconds | of plain | merge s | peak MB | of plain | anonymous MB | of plain | "
          "accuracy |")
    print("|---|---|---|---|---|---|---|---|---|")
    for way, runs in found.items():
        plain = found["plain, to a folder" if "folder" in way else "plain"]
        middle = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        of_plain = {key: middle[key] / statistics.median(one[key] for one in plain)
                    for key in ("seconds", "MB", "anonymous")}
        print(
            f"| {way} | {middle['seconds']:.2f} | {of_plain['seconds']:.3f} | "
            f"{middle.get('merge', 0):.2f} | {middle['MB']:.0f} | "
            f"{of_plain['MB']:.2f} | {middle['anonymous']:.0f} | {of_plain['anonymous']:.2f} | "
            f"{middle.get('accuracy', 0):.4f} |"
        )


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(run(*json.loads(sys.argv[2]))))
    else:
        main()
