"""Evaluation: GLUE and data of one's own, several tasks, pipelines that compute something else."""

from __future__ import annotations

import json
import math

import numpy
import pytest
from conftest import EXAMPLES, needs_transformers, same

import mergecraft
from mergecraft import ArgumentError, Pipeline, StateDict, UsageError, evaluate

DATA = EXAMPLES / "data"
ROWS = [
    {"a": "the red box is here", "b": "a box is here", "y": "entailment"},
    {"a": "the green box is here", "b": "no box is here", "y": "not_entailment"},
    {"a": "a red ball is here", "b": "the box is green", "y": 1},
] * 4


@pytest.fixture(scope="module")
def pipeline(parents):
    return Pipeline(parents[0])


def own(model, data, **keywords):
    return evaluate(model, data, text="a", pair="b", label="y", **keywords)


def test_metrics_errors_and_loss(pipeline):
    found = evaluate(pipeline, "rte", path=DATA)
    assert dict(found) == mergecraft.evaluate_glue_pipeline(pipeline, "rte", data=DATA)
    right = numpy.array(found.predictions) == numpy.array(found.labels)
    assert found["accuracy"] == right.mean()
    # The jackknife's standard error of a mean is the usual one.
    same(found.errors["accuracy"], right.std(ddof=1) / len(right) ** 0.5, 1e-12)
    columns = [pipeline.labels.index("not_entailment" if y else "entailment") for y in found.labels]
    logits = pipeline.logits([(t, p) for t, p, _ in examples()]).astype(numpy.float64)
    losses = numpy.log(numpy.exp(logits).sum(1)) - logits[numpy.arange(len(columns)), columns]
    assert abs(found.loss - losses.mean()) < 1e-5
    assert found.scores.shape == (len(right), 2) and "accuracy=" in repr(found)
    assert "<td>accuracy</td>" in found._repr_html_()


def examples():
    return mergecraft._core.glue_data("rte", "validation", str(DATA)).examples()


def test_limit(pipeline):
    found = evaluate(pipeline, "rte", path=DATA, limit=10)
    assert len(found.predictions) == 10
    whole = evaluate(pipeline, "rte", path=DATA)
    assert found.predictions == whole.predictions[:10]
    with pytest.raises(UsageError, match="limit"):
        evaluate(pipeline, "rte", path=DATA, limit=0)


def test_own_data(pipeline, tmp_path):
    lines = tmp_path / "own.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    table = tmp_path / "own.csv"
    table.write_text("a,b,y\n" + "".join(f"{r['a']},{r['b']},{r['y']}\n" for r in ROWS))
    columns = {name: [row[name] for row in ROWS] for name in "aby"}
    found = [own(pipeline, each) for each in (lines, str(table), ROWS, columns)]
    assert all(each.predictions == found[0].predictions for each in found)
    assert all(dict(each) == dict(found[0]) for each in found)
    best = pipeline([{"text": row["a"], "text_pair": row["b"]} for row in ROWS])
    labels = [pipeline.labels[int(p)] for p in found[0].predictions]
    assert labels == [each["label"] for each in best]
    single = evaluate(pipeline, [{"text": r["a"], "label": r["y"]} for r in ROWS])
    assert len(single.predictions) == len(ROWS)


def test_bad_data(pipeline, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'rte'"):
        evaluate(pipeline, "rtee")
    with pytest.raises(ValueError, match="column"):
        evaluate(pipeline, ROWS)
    with pytest.raises(ValueError, match="no label|perhaps|label"):
        own(pipeline, [{**ROWS[0], "y": "perhaps"}])
    with pytest.raises(UsageError, match="no labels to compare with"):
        own(pipeline, [{"a": "x", "b": "y", "y": None}])
    with pytest.raises(UsageError, match="columns of one length"):
        own(pipeline, {"a": ["x"], "b": [], "y": [1]})
    with pytest.raises(ArgumentError, match=r"data\[0\]: expected a dict, found str"):
        own(pipeline, ["text"])
    with pytest.raises(ArgumentError, match="found int"):
        own(pipeline, 5)


def test_mcnemar(parents):
    first, second = (evaluate(parent, "rte", path=DATA) for parent in parents[:2])
    test = first.compare(second)
    right = [[p == y for p, y in zip(e.predictions, e.labels)] for e in (first, second)]
    only = [sum(a and not b for a, b in zip(*pair)) for pair in (right, right[::-1])]
    assert (test.first_only, test.second_only) == tuple(only)
    n, k = sum(only), min(only)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert abs(test.p_value - min(1, 2 * tail)) < 1e-9 and "p_value=" in repr(test)
    with pytest.raises(UsageError, match="same examples"):
        first.compare(evaluate(parents[0], "rte", path=DATA, limit=3))


def test_state_dicts_with_like(parents, pipeline):
    for like in (parents[1], pipeline):
        found = evaluate(StateDict.from_hf(parents[0]), "rte", path=DATA, like=like)
        assert found.predictions == evaluate(pipeline, "rte", path=DATA).predictions
    with pytest.raises(ArgumentError, match="give like="):
        evaluate(StateDict.from_hf(parents[0]), "rte", path=DATA)


def test_an_encoder_with_the_heads_of_several_models(parents):
    merged = mergecraft.soup([StateDict.from_hf(p) for p in parents[:2]])
    found = evaluate({"rte": parents[0], "wnli": parents[1]}, DATA, encoder=merged, limit=20)
    for task, parent in (("rte", parents[0]), ("wnli", parents[1])):
        mixed = StateDict.from_hf(parent) | merged.filter("bert.*")
        alone = evaluate(mixed, task, path=DATA, like=parent, limit=20)
        assert found[task].predictions == alone.predictions
        assert (
            found.parents[task].predictions
            == evaluate(parent, task, path=DATA, limit=20).predictions
        )
    assert found.average == (found["rte"]["accuracy"] + found["wnli"]["accuracy"]) / 2
    ratio = found["rte"]["accuracy"] / found.parents["rte"]["accuracy"]
    assert found.relative["rte"] == ratio and "average" in repr(found)
    assert "<th>relative</th>" in found._repr_html_()


def test_loading_other_weights(parents):
    pipeline = Pipeline(parents[0])
    text = ["the red box is here"]
    expected = Pipeline(parents[1]).logits(text)
    assert (pipeline.logits(text) != expected).any()
    assert pipeline.load(StateDict.from_hf(parents[1])) is pipeline
    same(pipeline.logits(text), expected)
    assert pipeline.state_dict() == StateDict.from_hf(parents[1])
    part = StateDict.from_hf(parents[0]).filter("bert.*")
    with pytest.warns(mergecraft.MergeWarning, match="2 tensors are in one state dict only"):
        pipeline.load(part)
    with pytest.raises(mergecraft.MismatchError, match="load"):
        pipeline.load(part, strict=True)


# ---- pipelines that compute something else -------------------------------------------------------


@pytest.fixture
def called(parents):
    """A pipeline of transformers, and what it says of the first examples when it is called."""
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(parents[0])
    tokenizer = transformers.AutoTokenizer.from_pretrained(parents[0])

    def make(change, **keywords):
        made = transformers.pipeline(
            "text-classification", model=model.to(torch.float32), tokenizer=tokenizer, **keywords
        )
        change(made)
        return made, [made({"text": row["a"], "text_pair": row["b"]})["label"] for row in ROWS]

    return make


def negated(outputs):
    outputs.logits = -outputs.logits
    return outputs


def forward_hook(pipeline):
    pipeline.model.register_forward_hook(lambda module, args, outputs: negated(outputs))


def own_forward(pipeline):
    inner = pipeline.model.forward
    pipeline.model.forward = lambda *args, **keywords: negated(inner(*args, **keywords))


def subclass(pipeline):
    kind = type(pipeline.model)
    made = type("Negated", (kind,), {"forward": lambda *a, **k: negated(kind.forward(*a, **k))})
    pipeline.model.__class__ = made


def compiled(pipeline):
    import torch

    pipeline.model = torch.compile(pipeline.model, backend="eager")


def pruned(pipeline):
    import torch.nn.utils.prune

    dense = pipeline.model.bert.encoder.layer[0].intermediate.dense
    torch.nn.utils.prune.l1_unstructured(dense, "weight", 0.9)


@needs_transformers
@pytest.mark.parametrize("change", [forward_hook, own_forward, subclass, compiled, pruned])
def test_what_the_model_computes_counts(called, change):
    pipeline, labels = called(change)
    with pytest.warns(UserWarning, match="the pipeline is called, since it has"):
        found = own(pipeline, ROWS)
    names = list(pipeline.model.config.id2label.values())
    assert [names[int(p)] for p in found.predictions] == labels


@needs_transformers
def test_plain_pipelines_run_in_c(called, recwarn):
    pipeline, labels = called(lambda made: None)
    found = own(pipeline, ROWS)
    names = list(pipeline.model.config.id2label.values())
    assert [names[int(p)] for p in found.predictions] == labels
    assert not [w for w in recwarn if "pipeline is called" in str(w.message)]
    by_calls = mergecraft._evaluation._Subject(None, None, pipeline)
    options = mergecraft._evaluation._Options("validation", None, "float32", 0, None)
    data = mergecraft._evaluation._data(ROWS, None, ("a", "b", "y"), by_calls, options)
    again = by_calls.evaluate(data, options)
    assert again.predictions == found.predictions and dict(again) == dict(found)
    assert abs(again.loss - found.loss) < 1e-5 and abs(again.loss_error - found.loss_error) < 1e-5
    numpy.testing.assert_allclose(again.scores, found.scores, atol=1e-5)


@needs_transformers
def test_the_max_length_of_a_pipeline_counts(called):
    pipeline, _ = called(lambda made: None, max_length=4, truncation=True)
    with pytest.warns(UserWarning, match="its own max_length"):
        own(pipeline, ROWS)
