"""The extension: imports, memory, threads, interruption, references."""

from __future__ import annotations

import gc
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref

import numpy
import pytest
from conftest import HAS_TORCH, FirstStep, array, checkpoint, interrupts, same, tensor

import mergecraft
from mergecraft import StateDict, _core, layer_merge, model_merge


def run_python(text, **environment):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True,
        env={**os.environ, **environment}, timeout=120
    )


def test_import_is_light():
    done = run_python(
        "import sys, mergecraft\n"
        "heavy = [m for m in ('torch', 'numpy', 'transformers', 'ml_dtypes', 'tqdm', 'inspect') if "
        "m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_merge_of_folders_needs_no_torch(parents, tmp_path):
    done = run_python(
        "import sys, mergecraft\n"
        f"mergecraft.median({parents!r}, out={str(tmp_path / 'out')!r})\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr


def test_the_version():
    assert mergecraft.__version__ == _core.version


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files():
    return len(os.listdir("/proc/self/fd"))


def mappings():
    with open("/proc/self/maps") as file:
        return sum(1 for _ in file)


@pytest.mark.leaks
def test_a_thousand_merges_leave_nothing(tmp_path):
    """Memory, files and mappings are what they were, whichever way models come and go."""
    dicts = [{"x": tensor(numpy.full(20000, float(i)))} for i in range(3)]
    folders = [checkpoint(tmp_path, str(i), item) for i, item in enumerate(dicts)]

    @layer_merge
    def layers(models):
        return models[0] + models[1]

    @model_merge
    def whole(models):
        return StateDict(models[0]) - models[1]

    @layer_merge
    def fails(models):
        raise RuntimeError("on purpose")

    def round_of_merges():
        layers(dicts)
        whole(dicts)
        mergecraft.ties(dicts)
        mergecraft.soup([StateDict.from_hf(folder) for folder in folders])
        with pytest.raises(RuntimeError, match="on purpose"):
            fails(dicts)

    def settle(times):
        for _ in range(times):
            round_of_merges()
        gc.collect()
        return resident(), open_files(), mappings()

    before = settle(50)
    after = settle(200)  # five merges each
    assert after[0] - before[0] < 4 << 20
    assert after[1] == before[1]
    assert after[2] - before[2] < 10
    for i in range(20):
        layers.to_folder(folders, tmp_path / "out", overwrite=True, sync=False)
    assert open_files() == before[1]


def test_sources_keep_their_owner_and_let_go():
    value = numpy.ones(1000)
    gone = weakref.ref(value)
    source = _core.wrap("float64", value.shape, value.ctypes.data, value.nbytes, value)
    core = _core.Dict()
    core.set("x", source)
    del value, source
    assert gone() is not None
    made = core.materialize()
    del core
    assert gone() is None
    ((name, source),) = made.items()
    memory = source.load(share=True)
    del made, source
    assert name == "x" and numpy.frombuffer(memory, numpy.float64).sum() == 1000


def test_reference_counts_of_what_is_handed_over():
    function, name = (lambda models, base: models[0]), "a-name-that-nobody-else-has"
    dicts = [{"x": tensor([1.0])}]
    before = [sys.getrefcount(value) for value in (function, name, dicts[0]["x"], dicts[0])]
    for _ in range(100):
        method = _core.Method(name, name, False, function)
        model = _core.wrap_model(name, StateDict(dicts[0])._core(), None, None)
        plan = _core.Plan(method, [model], None, [], [], 0, False, None, None, None)
        assert len(plan.dict.materialize()) == 1 and plan.lines and plan.report == []
        with pytest.raises(TypeError):
            _core.Plan(method, [5], None, [], [], 0, False, None, None, None)
        with pytest.raises(ValueError):
            _core.Plan(method, [model], None, [], [], 0, False, "nothing", None, None)
    del method, model, plan
    gc.collect()
    assert [sys.getrefcount(value) for value in (function, name, dicts[0]["x"], dicts[0])] == before


def on_purpose(models=None, *ignored):
    raise RuntimeError("on purpose")


def computed(function, **run):
    core = _core.Dict()
    core.set("x", _core.compute("float32", (2,), function))
    return core.materialize(**run)


def each(*uses):
    """All of the uses, one after the other; a pair is an exception and what raises it."""

    def use():
        for one in uses:
            if isinstance(one, tuple):
                with pytest.raises(one[0]):
                    one[1]()
            else:
                one()

    return use


def uses_of_core(parents, tmp_path):
    """The extension's functions, used rightly and wrongly, without numpy."""
    floats = struct.pack("2f", 1, 2)
    method = _core.Method("a-name", "help", False, lambda models, base: models[0])
    fails = _core.Method("a-name", "help", False, on_purpose)
    model = _core.open_models([parents[0]])[0]
    source = dict(model.dict.items())["classifier.weight"]
    pipeline = _core.Pipeline(model, "float32", 1)
    examples = tmp_path / "rte.tsv"
    examples.write_text(
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\tc\td\tnot_entailment\n")
    glue = _core.glue_data("rte", "validation", str(examples))

    def plan_of(method=method, models=(model, model), base=None, params=(), passthrough=(),
                dtype=None):
        return _core.Plan(method, list(models), base, list(params), list(passthrough), 0, False,
                          dtype, "origin", "text")

    def models_and_plans():
        opened = _core.open_models([parents[0]])[0]
        assert opened.name and opened.folder and opened.config
        assert opened.architecture and opened.format
        assert len(_core.wrap_model("name", opened.dict, opened.config,
                                    opened.folder).dict.items()) == len(opened.dict)
        plan = plan_of(passthrough=["classifier.*"], dtype="f16")
        assert len(plan.dict.materialize(threads=2, progress=lambda done,
                                         total: None)) == len(opened.dict)
        assert plan.lines and plan.parameters and plan.report is not None
        memory = dict(plan.dict.items())["classifier.weight"].load("float32")
        assert memoryview(memory).nbytes == len(memory) and memory.address
        plan.run(tmp_path / "out", overwrite=True, sync=False)

    def tensors():
        owner = bytearray(floats)
        core = _core.Dict()
        core.set("x", _core.wrap("float32", [2], 8, 8, owner))
        assert source.shape and source.dtype and source.nbytes and source.is_float
        made = dict(computed(lambda: floats, threads=2).items())["x"]
        assert memoryview(made.load(share=True)).tobytes() == memoryview(
            made.load()).tobytes() == floats

    def lists():
        for one in _core.methods():
            assert one.name and one.family and one.counts
            assert one.sides is not None and one.params is not None
            assert isinstance(one.help, str) and isinstance(one.needs_base,
                                                            bool) and one.paper != ""
        assert _core.glue_tasks() and _core.dtype_name("bf16") == _core.widest("bfloat16",
                "bfloat16")

    def evaluation():
        assert pipeline.labels and pipeline.max_length
        assert len(pipeline.logits([("a", "b"), ("c", None)])) == len(pipeline.classify([("a", "b")]
                * 2))
        assert pipeline.evaluate(glue) and glue.score([0.0, 1.0])
        assert glue.examples() and glue.labelled and glue.label(
            "entailment") == 0 and glue.label_count == 2

    return each(
        models_and_plans,
        tensors,
        lists,
        evaluation,
        (RuntimeError, lambda: plan_of(fails)),
        (RuntimeError, lambda: computed(on_purpose)),
        (RuntimeError, lambda: computed(on_purpose, threads=4)),
        (TypeError, lambda: computed(lambda: 5)),
        (ValueError, lambda: computed(lambda: b"123")),
        (RuntimeError, lambda: model.dict.materialize(progress=on_purpose)),
        (TypeError, lambda: _core.wrap("float32", 5, 0, 4, None)),
        (TypeError, lambda: _core.wrap("float32", ("a",), 0, 4, None)),
        (ValueError, lambda: _core.wrap("float32", (1,) * 100, 0, 4, None)),
        (ValueError, lambda: _core.wrap("float33", (1,), 0, 4, None)),
        (ValueError, lambda: _core.wrap("float32", (1,), 0, 5, floats)),
        (ValueError, lambda: _core.wrap("float32", (-1,), 0, 4, floats)),
        (TypeError, lambda: _core.compute("float32", (None,), on_purpose)),
        (ValueError, lambda: _core.compute("float32", (-1,), on_purpose)),
        (ValueError, lambda: source.load("float8_e5m2")),
        (ValueError, lambda: source.load("nothing")),
        (TypeError, lambda: _core.Dict().set("x", 5)),
        (TypeError, lambda: _core.Dict(5)),
        (TypeError, lambda: _core.Method("name", 5, False, None)),
        (TypeError, lambda: plan_of(method=5)),
        (TypeError, lambda: plan_of(models=[5])),
        (TypeError, lambda: plan_of(base=5)),
        (TypeError, lambda: plan_of(params=[5])),
        (TypeError, lambda: plan_of(passthrough=[5])),
        (ValueError, lambda: plan_of(params=["p"])),
        (ValueError, lambda: plan_of(dtype="nothing")),
        (ValueError, lambda: _core.open_plugin(__file__)),
        (FileNotFoundError, lambda: _core.open_models([tmp_path / "nothing"])),
        (FileNotFoundError, lambda: _core.open_models([parents[0], tmp_path / "nothing"])),
        (TypeError, lambda: _core.open_models([5])),
        (ValueError, lambda: _core.open_models(["a\0b"])),
        (TypeError, lambda: _core.open_models(parents[0])),
        (TypeError, lambda: _core.wrap_model("name", 5, None, None)),
        (ValueError, lambda: _core.wrap_model("name", model.dict, "{", None)),
        (TypeError, lambda: pipeline.logits([5])),
        (TypeError, lambda: pipeline.logits([("a", 5)])),
        (RuntimeError, lambda: pipeline.logits([("a", None)], on_purpose)),
        (RuntimeError, lambda: pipeline.evaluate(glue, on_purpose)),
        (TypeError, lambda: pipeline.evaluate(5)),
        (TypeError, lambda: _core.Pipeline(5)),
        (ValueError, lambda: _core.Pipeline(model, "float16")),
        (KeyError, lambda: _core.glue_data("nothing", "validation")),
        (FileNotFoundError, lambda: _core.glue_data("rte", "validation", str(
            tmp_path / "nothing"))),
        (ValueError, lambda: glue.score([1.0])),
        (TypeError, lambda: glue.score([None, on_purpose])),
        (TypeError, lambda: glue.label(5)),
        (ValueError, lambda: _core.widest("float32", "int8")),
        (ValueError, lambda: _core.is_float("nothing")),
        (TypeError, lambda: _core.dtype_name(5)),
    )


def uses_of_the_package(tmp_path):
    """Merges and state dicts, used rightly and wrongly."""
    dicts = [{"x": tensor([1.0, float(i)]), "y": tensor([[float(i)]], "bfloat16")}
             for i in range(3)]
    folder = checkpoint(tmp_path, "small", dicts[0])
    (tmp_path / "empty").mkdir()

    @layer_merge
    def layers(models, layer_name):
        return models[0] + models[1] if layer_name == "x" else models[2]

    @model_merge
    def whole(models):
        return (StateDict(models[0]) - models[1]) * 0.5

    def returns(value):
        return layer_merge(lambda models: value)

    def merges():
        layers(dicts)
        whole(dicts)
        mergecraft.ties(dicts, passthrough=["y"])
        layers.to_folder([folder] * 3, tmp_path / "out", overwrite=True, sync=False)
        mergecraft.soup([folder, folder], out=tmp_path / "out", overwrite=True, sync=False)

    def arithmetic():
        one, two = StateDict(dicts[0]), StateDict.from_hf(folder)
        one += two
        assert one == two * 2 and -one != two and 1 - one == -(one - 1) and repr(one)
        one.update(two.subset(["y"]))
        one.pop("x")
        one.setdefault("x", two["x"])
        assert list(one.remove(["y"])) == ["x"] and len(two.to_model(dicts[1])) == 2
        assert len(StateDict.zeros_like(two).filter_values(lambda value: value.ndim == 1)) == 1

    return each(
        merges,
        arithmetic,
        (RuntimeError, lambda: layer_merge(on_purpose)(dicts)),
        (TypeError, lambda: returns(5)(dicts)),
        (ValueError, lambda: returns(tensor([1.0]))(dicts)),
        (TypeError, lambda: layers([dicts[0], folder])),
        (ValueError, lambda: layers([])),
        (ValueError, lambda: mergecraft.soup([dicts[0], {"x": tensor([1.0])}])),
        (ValueError, lambda: mergecraft.soup([dicts[0], {"z": tensor([1.0])}])),
        (ValueError, lambda: mergecraft.dare(dicts, p=5)),
        (TypeError, lambda: mergecraft.ties(dicts, densty=5)),
        (FileNotFoundError, lambda: StateDict.from_hf(tmp_path / "nothing")),
        (FileExistsError, lambda: mergecraft.soup([folder, folder], out=tmp_path / "empty")),
        (FileNotFoundError, lambda: mergecraft.soup([folder, str(tmp_path / "empty")])),
        (ValueError, lambda: StateDict(dicts[0]).subset("x") + {"x": tensor([1.0])}),
        (TypeError, lambda: StateDict(dicts[0]) + "x"),
        (KeyError, lambda: StateDict(dicts[0]).subset(["nothing"])),
    )


@pytest.mark.leaks
def test_right_and_wrong_uses_leave_nothing(parents, tmp_path):
    """No object stays that nobody has, and no reference to one that stays."""
    use = each(uses_of_core(parents, tmp_path), uses_of_the_package(tmp_path))

    def settle(times):
        for _ in range(times):
            use()
        gc.collect()
        references = sum(sys.getrefcount(value) for value in [*gc.get_objects(), None, True, False,
                                                              (), "", b""])
        return sys.getallocatedblocks(), references

    # Caches fill more and more slowly; what is left behind is left by every round.
    found = [settle(20) for _ in range(5)]
    blocks, references = zip(*found)
    assert min(after - before for before, after in zip(references, references[1:])) < 10
    if not HAS_TORCH:  # whose caches go on growing
        assert min(after - before for before, after in zip(blocks, blocks[1:])) < 20


@pytest.mark.skipif(not hasattr(sys, "gettotalrefcount"),
                    reason="the interpreter does not count references")
def test_all_references_are_given_back(parents, tmp_path):
    """A debug build counts them for an extension that is compiled for it, as in
    tools/check_python.sh; numpy is not."""
    use = uses_of_core(parents, tmp_path)

    def settle(times):
        for _ in range(times):
            use()
        gc.collect()
        return sys.gettotalrefcount()

    before = settle(20)
    assert settle(200) - before < 100


def test_two_merges_at_once(parents, tmp_path):
    expected = mergecraft.median([StateDict.from_hf(p) for p in parents])
    failures = []

    @layer_merge
    def middle(models):
        stacked = numpy.sort(numpy.stack([array(model) for model in models]), axis=0)
        return stacked[(len(models) - 1) // 2]

    def work(number):
        try:
            for i in range(3):
                if number % 2:
                    found = middle([StateDict.from_hf(p) for p in parents])
                else:
                    found = StateDict.from_hf(mergecraft.median(parents, out=tmp_path
                                                                / f"{number}-{i}", sync=False))
                for name in expected:
                    same(found[name], array(expected[name]))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_failure_in_one_thread_stays_there():
    results = {}

    def work(number):
        @layer_merge
        def fails(models):
            time.sleep(0.01)
            raise RuntimeError(str(number))

        try:
            fails([{"x": tensor([1.0])}] * 2)
        except RuntimeError as error:
            results[number] = str(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: str(i) for i in range(8)}


def test_functions_are_called_on_the_threads_of_the_library():
    """Eight of them want the interpreter's lock at once, and a failure on one of them is the
    caller's."""
    called = set()

    def make(value):
        def function():
            called.add(threading.get_ident())
            time.sleep(0.002)  # gives up the lock
            return numpy.full(1000, value, numpy.float32)

        return function

    def made_with(functions):
        core = _core.Dict()
        for name, function in functions.items():
            core.set(name, _core.compute("float32", (1000,), function))
        return core.materialize(threads=8, progress=lambda done, total: None)

    functions = {f"x{i}": make(float(i)) for i in range(50)}
    for name, source in made_with(functions).items():
        assert numpy.frombuffer(source.load(), numpy.float32).tolist() == [float(name[1:])] * 1000
    assert called - {threading.get_ident()}
    with pytest.raises(RuntimeError, match="on purpose"):
        made_with({**functions, "bad": on_purpose})

    @layer_merge
    def total(models):
        time.sleep(0.001)
        return models[0] + models[1]

    dicts = [{f"x{i}": tensor([1.0, 2.0]) for i in range(50)}] * 2
    same(total(dicts, threads=8)["x49"], [2, 4])


def interrupted_after(seconds, action):
    """That the action ends by a Ctrl-C. Shells start what is in the background with the signal
    ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            action()
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_long_call(tmp_path):
    big = [{f"x{i}": tensor(numpy.zeros(1000000)) for i in range(40)}] * 2

    def for_a_minute():
        start = time.monotonic()
        while time.monotonic() - start < 60:
            mergecraft.dare([*big, big[0]], p=0.5, threads=2)

    interrupted_after(0.5, for_a_minute)

    @layer_merge
    def slow(models):
        time.sleep(0.05)
        return models[0]

    interrupted_after(0.3, lambda: slow.to_folder(big, tmp_path / "out"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["evaluate", "evaluate the pipeline", "call", "logits"])
def test_ctrl_c_in_a_pipeline(parents, tmp_path, monkeypatch, what):
    """It ends before it is done. One thread has work for seconds, at the least."""
    count = 50000
    text = "the red box is here and a green one is there"
    with open(tmp_path / "validation.tsv", "w") as file:
        file.write("index\tsentence1\tsentence2\tlabel\n")
        file.writelines(f"{i}\t{text}\t{text}\tentailment\n" for i in range(count))
    pipeline = mergecraft.Pipeline(parents[0], threads=1)
    pipeline("warm")
    monkeypatch.setattr("mergecraft._pipeline.Progress", FirstStep)
    monkeypatch.setattr("mergecraft._evaluation.Progress", FirstStep)
    with interrupts():
        if what == "call":
            pipeline([text] * count)
        elif what == "logits":
            pipeline.logits([text] * count)
        else:
            model = {"evaluate": parents[0]}.get(what, pipeline)
            mergecraft.evaluate_glue_pipeline(model, "rte", data=tmp_path, threads=1)
    assert FirstStep.last and max(FirstStep.last) < count
    if what != "evaluate":
        monkeypatch.undo()
        assert len(pipeline("again")) == 1  # nothing is broken


def test_progress_is_called_and_may_fail():
    seen = []
    core = StateDict({f"x{i}": tensor(numpy.zeros(300000)) for i in range(30)})._core()
    core.materialize(threads=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (30 * 1200000, 30 * 1200000)

    def fails(done, total):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        core.materialize(threads=1, progress=fails)


def test_the_lock_is_released(tmp_path):
    """Another thread runs while the library works."""
    models = [{f"x{i}": tensor(numpy.zeros(1000000)) for i in range(20)}] * 3
    ticks = []

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.002)

    done = threading.Event()
    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    mergecraft.ties(models)
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    inside = [t for t in ticks if start < t < start + seconds]
    assert len(inside) > 5


def test_memory_has_the_buffer_protocol(parents):
    source = dict(_core.open_models([parents[0]])[0].dict.items())["classifier.weight"]
    memory = source.load()
    view = memoryview(memory)
    assert not view.readonly and view.nbytes == source.nbytes == len(memory)
    view[0] = 1
    assert memoryview(source.load()).tobytes() != b""
    wide = memoryview(source.load("float64"))
    assert wide.nbytes == numpy.prod(source.shape) * 8
    with pytest.raises(ValueError, match="expected float32 or float64"):
        source.load("float16" if source.dtype != "float16" else "bfloat16")
    with pytest.raises(TypeError):
        _core.Memory()
    with pytest.raises(TypeError):
        _core.Source()


def test_exit_while_tensors_are_held(parents):
    done = run_python(
        "import mergecraft, numpy\n"
        "held = mergecraft.StateDict.from_hf(%r)\n"
        "value = next(iter(held.values()))\n"
        "array = numpy.ones(10)\n"
        "source = mergecraft._core.wrap('float64', (10,), array.ctypes.data, 80, array)\n"
        % parents[0]
    )
    assert done.returncode == 0 and not done.stderr
