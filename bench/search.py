"""What a trial of a search costs beside scoring alone, and beside the plain way in torch.

    python bench/search.py BASE MODEL... --data FILE [--rounds N] [--torch]

Rounds alternate between a trial (merge and score) and scoring alone, in one process. Prints the
medians of wall time and of CPU time, and their ratios. With --torch, also one trial as people
write it: models as dicts in memory, merged by torch, load_state_dict, a pipeline of transformers.
"""

import argparse
import time
import warnings

import mergecraft

warnings.simplefilter("ignore")


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def median(numbers):
    ordered = sorted(numbers)
    return (ordered[len(ordered) // 2] + ordered[(len(ordered) - 1) // 2]) / 2


def torch_trial(base, models, data, scale):
    """Prepares as a user would; returns the function that makes one trial."""
    import transformers
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    transformers.logging.set_verbosity_error()
    dicts = [
        AutoModelForSequenceClassification.from_pretrained(path, dtype="float32").state_dict()
        for path in models
    ]
    start = AutoModelForSequenceClassification.from_pretrained(base, dtype="float32").state_dict()
    model = AutoModelForSequenceClassification.from_pretrained(models[-1], dtype="float32")
    pipe = pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(models[-1])
    )
    texts = [{"text": text, "text_pair": pair} for text, pair, _ in data]

    def run():
        merged = {}
        for name, tensor in dicts[0].items():
            if name not in start or name.startswith("classifier"):
                merged[name] = sum(d[name] for d in dicts) / len(dicts)
            else:
                delta = sum(d[name] - start[name] for d in dicts) / len(dicts)
                merged[name] = start[name] + scale * delta
        model.load_state_dict(merged)
        return [out["label"] for out in pipe(texts)]

    return run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--torch", action="store_true")
    options = parser.parse_args()
    trial = mergecraft.Trial(
        "task",
        options.models,
        base_model=options.base,
        eval="rte",
        data=options.data,
        limit=options.limit,
        passthrough="classifier*",
        verbose=False,
    )
    trial(scale=1.0)  # kernels are compiled, files are cached
    trials, alone = [], []
    for i in range(options.rounds):
        trials.append(timed(lambda: trial(scale=0.5 + i / 10)))
        alone.append(timed(lambda: trial._pipeline.evaluate(trial._data, None)))
    for k, what in enumerate(("wall", "CPU")):
        merged = median([t[k] for t in trials])
        scored = median([t[k] for t in alone])
        print(f"{what}: trial {merged:.3f} s, scoring alone {scored:.3f} s, {merged / scored:.3f}")
    if options.torch:
        run = torch_trial(options.base, options.models, trial._data.examples(), 1.0)
        wall, cpu, _ = timed(run)
        ours = timed(lambda: trial(scale=1.0))
        print(f"torch: {wall:.2f} s (CPU {cpu:.2f})")
        print(f"mergecraft: {ours[0]:.2f} s (CPU {ours[1]:.2f})")
        print(f"{wall / ours[0]:.1f} times as fast (CPU {cpu / ours[1]:.1f})")


if __name__ == "__main__":
    main()
