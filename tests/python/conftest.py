"""What the tests have in common. They run with torch and without: where it is missing, tensors
are arrays of numpy."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import threading
import time
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "models"
HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_TRANSFORMERS = HAS_TORCH and importlib.util.find_spec("transformers") is not None

needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")
needs_transformers = pytest.mark.skipif(not HAS_TRANSFORMERS,
                                        reason="transformers is not installed")


# What cannot be tested here, for want of torch or transformers, is no test here: nothing is
# reported as skipped.
collect_ignore = [] if HAS_TORCH else ["test_torch.py", "test_idioms.py"]


def pytest_collection_modifyitems(config, items):
    """Leaves out the tests whose conditions do not hold."""
    unfit = [item for item in items if any(mark.args[0] for mark in item.iter_markers("skipif"))]
    if not HAS_TRANSFORMERS:
        unfit += [item for item in items if item not in unfit
                  and "modules" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=unfit)
    items[:] = [item for item in items if item not in unfit]


def tensor(values, dtype="float32"):
    """A tensor of torch, or an array where torch is not installed."""
    if HAS_TORCH:
        import torch

        return torch.tensor(values, dtype=getattr(torch, dtype))
    import ml_dtypes

    return numpy.array(values, dtype=getattr(ml_dtypes if dtype == "bfloat16" else numpy, dtype))


def array(value):
    """Any tensor as float64, to compare."""
    if HAS_TORCH:
        import torch

        if isinstance(value, torch.Tensor):
            return value.detach().to(torch.float64).numpy()
    return numpy.asarray(value, dtype=numpy.float64)


def dtype_of(value):
    return str(value.dtype).removeprefix("torch.")


def same(value, expected, tolerance=0.0):
    found = array(value)
    wanted = numpy.asarray(expected, dtype=numpy.float64)
    assert found.shape == wanted.shape
    numpy.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def median_of(values):
    """The lower of the two middle values for an even number, as torch.median has it; written
    with numpy."""
    stacked = numpy.sort(numpy.stack([array(value) for value in values]), axis=0)
    return stacked[(len(values) - 1) // 2]


def checkpoint(folder, name, tensors):
    """Saves a dict as a model with a config."""
    import mergecraft

    target = folder / name
    mergecraft.StateDict(tensors).save(target)
    (target / "config.json").write_text('{"architectures": ["BertForSequenceClassification"], '
                                        '"model_type": "bert"}')
    return str(target)


class FirstStep:
    """Instead of a progress bar: a function of C's, so that only the library can notice a
    signal, and a thread that sends one when it has been called."""

    last: dict[int, int] = {}  # (done, total) of the steps of the last call

    def __init__(self, *ignored):
        self.steps = {}

    def __enter__(self):
        threading.Thread(target=self.interrupt, daemon=True).start()
        return self.steps.setdefault

    def __exit__(self, *ignored):
        FirstStep.last, self.steps = self.steps, None

    def interrupt(self):
        while self.steps == {}:
            time.sleep(0.001)
        if self.steps:
            os.kill(os.getpid(), signal.SIGINT)


@contextlib.contextmanager
def interrupts():
    """That a Ctrl-C ends what is done. Shells start what is in the background with the signal
    ignored."""
    FirstStep.last = {}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def parents():
    """Five fine-tuned models: safetensors, shards, two torch formats; float32, float16 and
    bfloat16."""
    return [str(EXAMPLES / f"rte-{i}") for i in range(1, 6)]


@pytest.fixture(scope="session")
def base():
    return str(EXAMPLES / "base")
