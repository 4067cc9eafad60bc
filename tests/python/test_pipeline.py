"""Pipeline and evaluate_glue_pipeline: the same labels and scores as transformers, where that is
installed."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import numpy
import pytest
from conftest import EXAMPLES, HAS_TRANSFORMERS, array, checkpoint, needs_transformers, same, tensor

import mergecraft
from mergecraft import (ArgumentError, NotFoundError, Pipeline, StateDict, UsageError,
                        evaluate_glue_pipeline)

DATA = EXAMPLES / "data"
TEXTS = ["the red box is here", {"text": "the red box is here", "text_pair": "a box is here"}, "",
         "Ünïcode 中文"]
# transformers' accuracy on the demo data, from examples/models/accuracy.json and 600 examples.
ACCURACY = 0.8183333333333334


def processor_has(*flags):
    with open("/proc/cpuinfo") as file:
        text = file.read()
    return any(flag in text for flag in flags)


def test_it_answers_as_transformers_does(parents):
    pipeline = Pipeline(parents[0])
    assert pipeline.labels == ["entailment", "not_entailment"]
    one = pipeline("the red box is here")
    assert isinstance(one, list) and set(one[0]) == {"label", "score"}
    pair = pipeline({"text": "the red box is here", "text_pair": "a box is here"})
    assert isinstance(pair, dict)
    assert len(pipeline(TEXTS)) == len(TEXTS)
    assert [len(each) for each in pipeline(TEXTS, top_k=None)] == [2] * len(TEXTS)
    assert pipeline.logits(TEXTS).shape == (len(TEXTS), 2)
    assert "BertForSequenceClassification" in repr(pipeline)
    with pytest.raises(ArgumentError, match="expected a text, or .*found 5"):
        pipeline([5])


@needs_transformers
def test_the_same_numbers_as_transformers(parents):
    import transformers

    for folder in parents:
        ours = Pipeline(folder)
        module = transformers.AutoModelForSequenceClassification.from_pretrained(folder,
                dtype="float32")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        theirs = transformers.pipeline("text-classification", model=module, tokenizer=tokenizer,
                                       device="cpu")
        for text in TEXTS[:2] + TEXTS[3:]:
            expected, found = theirs(text, top_k=None), ours(text, top_k=None)
            assert [e["label"] for e in expected] == [f["label"] for f in found]
            numpy.testing.assert_allclose([e["score"] for e in expected],
                                          [f["score"] for f in found], atol=1e-5)


def test_evaluate(parents):
    assert evaluate_glue_pipeline(parents[0], "rte",
                                  data=DATA) == {"accuracy": pytest.approx(ACCURACY, abs=1e-9)}
    pipeline = Pipeline(parents[0])
    assert evaluate_glue_pipeline(pipeline, "rte",
                                  data=DATA) == {"accuracy": pytest.approx(ACCURACY, abs=1e-9)}
    assert evaluate_glue_pipeline(pipeline, "rte", "train", data=DATA)["accuracy"] > 0.75
    assert evaluate_glue_pipeline(pipeline, "mrpc",
                                  data=DATA / "validation.parquet").keys() == {"accuracy", "f1"}


@pytest.mark.skipif(not processor_has("avx512_bf16"), reason="the processor has no bfloat16")
def test_evaluate_in_bfloat16(parents):
    found = evaluate_glue_pipeline(parents[0], "rte", data=DATA, dtype="bf16")["accuracy"]
    assert abs(found - ACCURACY) < 0.01


@pytest.mark.skipif(not processor_has("avx512_vnni", "avx_vnni"),
                    reason="the processor has no products of int8")
def test_evaluate_in_int8(parents):
    found = evaluate_glue_pipeline(parents[0], "rte", data=DATA, dtype="int8")["accuracy"]
    assert abs(found - ACCURACY) < 0.01
    assert Pipeline(parents[0],
                    dtype="int8")("A text.")[0]["label"] == Pipeline(parents[0])("A text.")[0][
                        "label"]


def test_the_folder_in_the_environment(parents):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import mergecraft; print(mergecraft.evaluate_glue_pipeline({parents[0]!r}, 'rte'))",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "MERGECRAFT_DATA": str(DATA)},
    )
    assert "accuracy" in done.stdout, done.stderr


def test_merging_pipelines(parents):
    merged = mergecraft.median([Pipeline(p) for p in parents])
    assert isinstance(merged, Pipeline)
    assert merged.state_dict() == mergecraft.median([StateDict.from_hf(p) for p in parents])
    assert evaluate_glue_pipeline(merged, "rte", data=DATA)["accuracy"] > 0.8
    zeros = (StateDict.from_hf(parents[0]) * 0).to_model(merged)
    assert isinstance(zeros, Pipeline) and zeros("anything")[0]["score"] == 0.5


@pytest.mark.skipif(HAS_TRANSFORMERS, reason="transformers is installed")
def test_ids_become_pipelines_of_mergecraft(parents):
    merged = mergecraft.median(parents)
    assert isinstance(merged, Pipeline)
    assert evaluate_glue_pipeline(merged, "rte", data=DATA)["accuracy"] > 0.8


@needs_transformers
def test_pipelines_of_transformers(parents):
    import transformers

    pipeline = transformers.pipeline("text-classification", model=parents[0], device="cpu")
    assert evaluate_glue_pipeline(pipeline, "rte",
                                  data=DATA) == {"accuracy": pytest.approx(ACCURACY, abs=1e-9)}


@needs_transformers
def test_an_architecture_that_the_library_does_not_know(parents, tmp_path):
    """It is called, and scored alike."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ConvBertConfig(
        vocab_size=2000, hidden_size=32, embedding_size=32, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(parents[0])
    model = transformers.ConvBertForSequenceClassification(config).eval()
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer,
                                     device="cpu")
    lines = (DATA / "validation.tsv").read_text().splitlines()[:41]
    (tmp_path / "dev.tsv").write_text("\n".join(lines) + "\n")
    found = evaluate_glue_pipeline(pipeline, "rte", data=tmp_path / "dev.tsv")
    right = 0
    for _, text, pair, label in (line.split("\t") for line in lines[1:]):
        guess = pipeline({"text": text, "text_pair": pair})["label"]
        right += guess == {"entailment": "LABEL_0", "not_entailment": "LABEL_1"}[label]
    assert found == {"accuracy": right / 40}


def test_what_a_function_leaves_out_is_the_last_models(parents):
    @mergecraft.model_merge
    def head_of_the_first(models):
        return models[0].subset(["classifier.weight", "classifier.bias"])

    def weights(pipeline):
        return dict(StateDict.from_model(pipeline))

    first, last = (StateDict.from_hf(folder) for folder in parents[:2])
    for models in (parents[:2], [Pipeline(folder) for folder in parents[:2]]):
        with pytest.warns(mergecraft.MergeWarning, match="71 tensors are not in its result"):
            found = weights(head_of_the_first(models))
        assert found.keys() == last.keys()
        for name, value in found.items():
            same(value, array((first if "classifier" in name else last)[name]))


def test_a_pipeline_is_a_model_like_others(parents):
    pipeline = Pipeline(parents[0])
    assert StateDict.from_model(pipeline) == StateDict.from_hf(parents[0])
    assert StateDict.zeros_like(pipeline).keys() == pipeline.state_dict().keys()
    assert mergecraft.soup([pipeline] * 2, device="cpu")("text") == pipeline("text")
    with pytest.raises(UsageError,
                       match="device: expected 'cpu', where a mergecraft.Pipeline runs, found "
                             "'cuda'"):
        mergecraft.soup([pipeline] * 2, device="cuda")


def test_pickling_and_copies_of_pipelines(parents):
    """They go to other processes."""
    merged = mergecraft.soup([Pipeline(parents[0], threads=1), Pipeline(parents[1], threads=1)])
    for pipeline in (Pipeline(parents[0]), merged):
        for other in (pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline),
                      copy.copy(pipeline)):
            assert isinstance(other, Pipeline) and other(TEXTS) == pipeline(TEXTS)
            assert repr(other) == repr(pipeline)


def test_bad_texts(parents):
    pipeline = Pipeline(parents[0])
    for function in (pipeline, pipeline.logits):
        with pytest.raises(ArgumentError,
                           match="expected a text or a list of texts, found NoneType"):
            function(None)
        for bad in ({"text": "a", "text_pair": 5}, {"text": None}, {}, ("a", 5), ["a", "b", "c"],
                    b"a", 5):
            with pytest.raises(ArgumentError, match="expected a text, or "):
                function([bad])
        with pytest.raises(UsageError, match="expected a text in Unicode"):
            function(["fine", "half \ud800"])
    assert pipeline([]) == [] and pipeline.logits([]).shape == (0, 2)
    assert pipeline([("a", "b"), ["a", "b"]]) == pipeline([{"text": "a", "text_pair": "b"}] * 2)


def test_keywords_of_a_call(parents):
    pipeline = Pipeline(parents[0])
    assert pipeline("a", truncation=True, padding=True, batch_size=8) == pipeline("a")
    for wrong in ({"topk": None}, {"function_to_apply": "none"}, {"return_all_scores": True},
                  {"max_length": 5}):
        with pytest.raises(ArgumentError,
                           match=f"got an unexpected keyword argument '{next(iter(wrong))}'"):
            pipeline("a", **wrong)
    with pytest.raises(UsageError, match="top_k: expected a whole number from 1 to"):
        pipeline("a", top_k=-1)
    with pytest.raises(ArgumentError, match="top_k: expected a whole number, found 1.5"):
        pipeline("a", top_k=1.5)


def test_bad_arguments(parents):
    for threads in ("2", 1.5):
        with pytest.raises(ArgumentError, match="threads: expected a whole number"):
            Pipeline(parents[0], threads=threads)
        with pytest.raises(ArgumentError, match="threads: expected a whole number"):
            evaluate_glue_pipeline(parents[0], "rte", data=DATA, threads=threads)
    for name, split in ((5, "validation"), (None, "validation"), ("rte", None)):
        with pytest.raises(ArgumentError, match="expected the names of a task and a split"):
            evaluate_glue_pipeline(parents[0], name, split, data=DATA)
    with pytest.raises(ArgumentError, match="data: expected a path, found list"):
        evaluate_glue_pipeline(parents[0], "rte", data=[("a", "b", 0)])
    with pytest.raises(ArgumentError, match="model: expected a path, found int"):
        Pipeline(5)
    with pytest.raises(UsageError, match="dtype: expected"):
        Pipeline(parents[0], dtype="what")
    assert Pipeline(parents[0], dtype=numpy.float32)("a") == Pipeline(parents[0])("a")




def test_errors(parents, tmp_path):
    with pytest.raises(ValueError,
                       match="expected one of .*rte.*, found 'rtx'; did you mean 'rte'"):
        evaluate_glue_pipeline(parents[0], "rtx")
    with pytest.raises(NotFoundError):
        evaluate_glue_pipeline(parents[0], "rte", data=tmp_path / "nothing")
    with pytest.raises(NotFoundError, match="nothing-here"):
        evaluate_glue_pipeline(str(tmp_path / "nothing-here"), "rte", data=DATA)
    with pytest.raises(UsageError, match="dtype: expected 'f32', 'bf16' or 'int8', found 'f64'"):
        evaluate_glue_pipeline(parents[0], "rte", data=DATA, dtype="f64")
    with pytest.raises(ArgumentError, match="expected a pipeline .*, found dict"):
        evaluate_glue_pipeline({"x": tensor([1.0])}, "rte", data=DATA)
    with pytest.raises(mergecraft.Error):
        Pipeline(checkpoint(tmp_path, "broken", {"x": tensor([1.0])}))("text")
