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


def read_floats(path, name):
    """A tensor of 16-bit floats, decoded without mergecraft, in double."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:start])[name]
    begin, end = (start + at for at in entry["data_offsets"])
    if entry["dtype"] == "BF16":
        bits = numpy.frombuffer(data[begin:end], "<u2").astype("<u4") << 16
        return bits.view("<f4").astype("f8").reshape(entry["shape"])
    assert entry["dtype"] == "F16"
    return numpy.frombuffer(data[begin:end], "<f2").astype("f8").reshape(entry["shape"])


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_unified_vector_is_rounded(dtype, tmp_path):
    """Masks and rescalers belong to the vector that the result holds, not to the one before."""
    generator = numpy.random.default_rng(5)
    base = draw(generator, "f4")
    models = [
        {name: numpy.asarray(base[name] + 1e-3 * x, "f4") for name, x in noise.items()}
        for noise in (draw(generator, "f4") for _ in range(2))
    ]
    start = write_model(tmp_path / "base", base, [])
    folders = [write_model(tmp_path / f"model-{k}", m, []) for k, m in enumerate(models)]
    out = tmp_path / "unified"
    mergecraft.emr(folders, base_model=start, out=out, dtype=dtype)
    file = out / "task_masks.safetensors"
    masks = safetensors.load_file(file)
    with open(file, "rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    tasks = json.loads(header["__metadata__"]["tasks"])
    for k, model in enumerate(models):
        own = shared = 0
        for name in (each for each in SHAPES if base[each].size):
            update = read_floats(out / "model.safetensors", name) - base[name]
            vector = model[name].astype("f8") - base[name]
            agrees = vector * update > 0
            rows = numpy.asarray(masks[f"masks/{name}"])[:, k]
            bits = numpy.unpackbits(rows, bitorder="little")[: base[name].size]
            assert numpy.array_equal(bits, agrees.ravel())
            own += numpy.abs(vector).mean()
            shared += numpy.abs(update * agrees).mean()
        assert tasks[k]["rescaler"] == pytest.approx(own / shared, rel=1e-12)


def test_errors(merge, tmp_path):
    base, models, unified = merge
    with pytest.raises(mergecraft.UsageError, match="tasks 1 model-0, 2 model-1, 3 model-2"):
        mergecraft.decompress(unified, 4)
    with pytest.raises(mergecraft.MismatchError, match="found another model"):
        mergecraft.decompress(unified, 1, base_model=tmp_path / "model-0")
    with pytest.raises(mergecraft.NotFoundError, match="task_masks.safetensors"):
        mergecraft.decompress(tmp_path / "base", 1)
    shutil.move(tmp_path / "base", tmp_path / "moved")
    with pytest.raises(mergecraft.NotFoundError):
        mergecraft.decompress(unified, 1)
    assert mergecraft.decompress(unified, 1, base_model=tmp_path / "moved")
