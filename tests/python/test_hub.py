"""Models of the Hub by their names; the Hub is the one of tests/hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy
import pytest
from conftest import HAS_TRANSFORMERS, ROOT, FirstStep, checkpoint, interrupts, same, tensor

import mergecraft
from mergecraft import NotFoundError, StateDict, _core


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder whose folders ORG/NAME are models of a Hub, and an empty cache."""
    folder = tmp_path / "hub"
    (folder / "org").mkdir(parents=True)
    for variable in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY",
                     "HF_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    server = [sys.executable, str(ROOT / "tests" / "hub" / "server.py"), "--root", str(folder),
              "--until-eof"]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as process:
        monkeypatch.setenv("HF_ENDPOINT", process.stdout.readline().strip())
        yield folder
        process.stdin.close()


def test_names(hub, tmp_path):
    for i, name in enumerate(("a", "b")):
        checkpoint(hub / "org", name, {"x": tensor([1.0 + i, 2.0])})
    same(StateDict.from_hf("org/a")["x"], [1, 2])
    mergecraft.soup.to_folder(["org/a", "org/b", "org/a"], tmp_path / "out", sync=False)
    same(StateDict.from_hf(tmp_path / "out")["x"], [4 / 3, 2], 1e-6)
    with pytest.raises(NotFoundError, match="org/missing"):
        mergecraft.soup(["org/a", "org/missing"])


PUSH = """
import sys
import mergecraft
merged = mergecraft.soup([mergecraft.StateDict.from_hf(path) for path in sys.argv[1:3]])
print(merged.push_to_hub('org/pushed', like=sys.argv[1], token='hf_write', private=True))
"""


@pytest.mark.skipif(not HAS_TRANSFORMERS, reason="huggingface_hub comes with transformers")
def test_a_pushed_merge_is_downloaded_again(hub, parents):
    """huggingface_hub reads the address of the Hub when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", PUSH, *parents[:2]],
        env={**os.environ, "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "org/pushed" in done.stdout, done.stderr
    merged = mergecraft.soup([StateDict.from_hf(path) for path in parents[:2]])
    assert StateDict.from_hf("org/pushed") == merged
    own = mergecraft.evaluate_glue_pipeline("org/pushed", "rte", data=ROOT / "examples/models/data")
    assert "accuracy" in own


def slow(hub, name, rate):
    """A model whose weights come at so many bytes a second."""
    checkpoint(hub / "org", name, {"x": tensor(numpy.zeros(1000000))})
    (hub / "org" / name / ".hub.json").write_text(
        json.dumps({"faults": {"model.safetensors": {"kind": "slow", "rate": rate, "times": 1}}})
    )


def test_what_is_downloaded_shows_progress(hub):
    slow(hub, "a", 10000000)
    steps = []
    _core.open_models(["org/a"], lambda done, total: steps.append((done, total)))
    assert steps and steps[-1][0] <= steps[-1][1]

    def fails(done, total):
        raise RuntimeError("no more")

    slow(hub, "b", 10000000)
    with pytest.raises(RuntimeError, match="no more"):
        _core.open_models(["org/b"], fails)


def slow_data(hub):
    """RTE's validation pairs, which come ten bytes a second."""
    folder = hub / "datasets" / "nyu-mll" / "glue" / "rte"
    folder.mkdir(parents=True)
    name = "validation-00000-of-00001.parquet"
    (folder / name).write_bytes((ROOT / "examples" / "models" / "data"
                                 / "validation.parquet").read_bytes())
    faults = {f"rte/{name}": {"kind": "slow", "rate": 10, "times": 1}}
    (folder.parent / ".hub.json").write_text(json.dumps({"faults": faults}))


@pytest.mark.parametrize("what", ["merge", "base", "dict", "pipeline", "evaluate", "data"])
def test_ctrl_c_in_a_download(hub, monkeypatch, parents, what):
    """Which would take an hour."""
    slow(hub, "a", 1000)
    slow_data(hub)
    monkeypatch.delenv("MERGECRAFT_DATA", raising=False)
    monkeypatch.setattr("mergecraft._progress.Progress", FirstStep)
    if what == "data":
        monkeypatch.setattr("mergecraft._evaluation.Progress", FirstStep)
    with interrupts():
        {
            "merge": lambda: mergecraft.soup(["org/a", parents[0]]),
            "base": lambda: mergecraft.task([parents[0]] * 2, base_model="org/a"),
            "dict": lambda: StateDict.from_hf("org/a"),
            "pipeline": lambda: mergecraft.Pipeline("org/a"),
            "data": lambda: mergecraft.evaluate_glue_pipeline(parents[0], "rte"),
            "evaluate": lambda: mergecraft.evaluate_glue_pipeline("org/a", "rte",
                    data=ROOT / "examples" / "models" / "data"),
        }[what]()
    assert FirstStep.last
