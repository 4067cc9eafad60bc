"""A program as users write it, for mypy --strict; it is not run."""

from __future__ import annotations

from typing import Any, assert_type

import mergecraft
from mergecraft import (Merge, Method, Pipeline, StateDict, dict_map, evaluate_glue_pipeline,
                        layer_merge, load_methods, model_merge)


@layer_merge
def mean(models: list[Any]) -> Any:
    return sum(models) / len(models)


@layer_merge()
def first(models: list[Any]) -> Any:
    return models[0]


@dict_map(["models", "hessians"])
def weighted(models: list[Any], hessians: list[Any]) -> Any:
    return models[0] * hessians[0]


@dict_map
def last(models: list[Any]) -> Any:
    return models[-1]


@model_merge
def whole(models: list[StateDict], base_index: int = 0) -> StateDict:
    assert_type(last(models), StateDict)
    return models[base_index]


merges: list[Merge] = [mean, first, whole, mergecraft.soup]
pipeline = mean(["a", "b"], task="text-classification")
assert_type(mean.to_folder(["a", "b"], "out"), str)
assert_type(weighted([{}], [{}]), StateDict)
difference = StateDict.from_hf("a") - StateDict.from_hf("b")
difference *= 0.5
assert_type(2 * difference, StateDict)
difference.save("out", overwrite=True)
assert_type(evaluate_glue_pipeline(pipeline, "rte"), dict[str, float])
Pipeline("a", dtype="bf16").logits(["a"]).mean()
methods: dict[str, Method] = load_methods("mine.c")
mergecraft.ties(["a"], base_index=0, k=0.2, passthrough="classifier.*")
mergecraft.ties(["a"], foo=3)  # type: ignore[call-arg]
mergecraft.soup(["a"], 5)
try:
    pass
except mergecraft.Error as error:
    print(error.file, error.tensor, error.offset)
