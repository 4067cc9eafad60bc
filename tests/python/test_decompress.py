"""Models of single tasks from a merge with emr, beside numpy."""

from __future__ import annotations

import json
import shutil

import numpy
import pytest

safetensors = pytest.importorskip("safetensors.numpy")

import mergecraft  # noqa: E402

WEIGHT, BIAS, HEAD = "bert.encoder.layer.0.w", "bert.encoder.layer.0.b", "classifier.weight"
SHAPES = {WEIGHT: (13, 21), BIAS: (11,), "bert.scalar": (), "bert.empty": (0, 3)}


def write_model(folder, tensors, labels):
    folder.mkdir()
    safetensors.save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "bert", "id2label": dict(enumerate(labels))}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def draw(generator, dtype, labels=None):
    tensors = {name: generator.normal(size=shape) for name, shape in SHAPES.items()}
    if labels:
        tensors[HEAD] = generator.normal(size=(labels, 21))
    return {name: numpy.asarray(x, dtype) for name, x in tensors.items()}


def rebuilt(base, models, task):
    """The definition: base + rescaler * mask * unified, in double."""
    masked, own, shared = {}, 0, 0
    for name in SHAPES:
        start = base[name].astype("f8")
        tasks = [model[name].astype("f8") - start for model in models]
        sign = numpy.where(sum(tasks) > 0, 1, -1)
        unified = sign * numpy.max([numpy.maximum(t * sign, 0) for t in tasks], axis=0)
        masked[name] = numpy.where(tasks[task] * sign > 0, unified, 0)
        if start.size:
            own += numpy.abs(tasks[task]).mean()
            shared += numpy.abs(masked[name]).mean()
    return {name: base[name] + own / shared * x for name, x in masked.items()}


@pytest.fixture(params=["float32", "float64"])
def merge(request, tmp_path):
    generator = numpy.random.default_rng(3)
    base = draw(generator, request.param)
    models = [draw(generator, request.param, labels=k + 2) for k in range(3)]
    models[1][WEIGHT][:5] = base[WEIGHT][:5]  # no change: not in the mask
    start = write_model(tmp_path / "base", base, [])
    folders = [
        write_model(tmp_path / f"model-{k}", model, [f"{k}-{i}" for i in range(k + 2)])
        for k, model in enumerate(models)
    ]
    out = tmp_path / "unified"
    mergecraft.emr(folders, base_model=start, out=out, exclude=["classifier.*"])
    return base, models, out


def test_tasks_are_as_defined(merge, tmp_path):
    base, models, unified = merge
    tolerance = 1e-14 if base[WEIGHT].dtype == "f8" else 3e-7
    for task, model in enumerate(models):
        tensors = mergecraft.decompress(unified, f"model-{task}")
        assert sorted(tensors) == sorted(model)
        for name, expected in rebuilt(base, models, task).items():
            found = numpy.asarray(tensors[name])
            assert found.dtype == base[name].dtype
            numpy.testing.assert_allclose(found, expected, rtol=tolerance, atol=10 * tolerance)
        assert numpy.array_equal(numpy.asarray(tensors[HEAD]), model[HEAD])
        out = tmp_path / f"task-{task}"
        assert mergecraft.decompress(unified, task + 1, out=out) == str(out)
        config = json.loads((out / "config.json").read_text())
        assert list(config["id2label"].values()) == [f"{task}-{i}" for i in range(task + 2)]


def test_equals_emr_of_one_task(merge, tmp_path):
    base, models, unified = merge
    folders = [tmp_path / f"model-{k}" for k in range(3)]
    mergecraft.emr(
        folders,
        base_model=tmp_path / "base",
        out=tmp_path / "direct",
        exclude=["classifier.*"],
        task=2,
    )
    found = mergecraft.decompress(unified, 2)
    expected = safetensors.load_file(tmp_path / "direct" / "model.safetensors")
    for name in SHAPES:
        numpy.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)


def test_masks_are_bits(merge, tmp_path):
    base, models, unified = merge
    masks = safetensors.load_file(unified / "task_masks.safetensors")
    rows = numpy.asarray(masks[f"masks/{WEIGHT}"])
    assert rows.dtype == "u1" and rows.shape == (-(-base[WEIGHT].size // 8), 3)
    bits = numpy.unpackbits(rows, axis=0, bitorder="little")[: base[WEIGHT].size]
    tasks = numpy.stack([(m[WEIGHT] - base[WEIGHT]).ravel() for m in models], axis=1)
    sign = numpy.where(tasks.astype("f8").sum(axis=1, keepdims=True) > 0, 1, -1)
    assert numpy.array_equal(bits, tasks * sign > 0)


def test_errors(merge, tmp_path):
    base, models, unified = merge
    with pytest.raises(mergecraft.UsageError, match="one task of 1 model-0, 2 model-1, 3 model-2"):
        mergecraft.decompress(unified, 4)
    with pytest.raises(mergecraft.MismatchError, match="found another model"):
        mergecraft.decompress(unified, 1, base_model=tmp_path / "model-0")
    with pytest.raises(mergecraft.NotFoundError, match="task_masks.safetensors"):
        mergecraft.decompress(tmp_path / "base", 1)
    shutil.move(tmp_path / "base", tmp_path / "moved")
    with pytest.raises(mergecraft.NotFoundError):
        mergecraft.decompress(unified, 1)
    assert mergecraft.decompress(unified, 1, base_model=tmp_path / "moved")
