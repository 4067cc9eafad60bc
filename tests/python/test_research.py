"""Further idioms of research: dtypes, buffers, ties, aliases, copies, kinds of models, tasks."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections import OrderedDict

import numpy
import pytest
from conftest import EXAMPLES, needs_transformers

torch = pytest.importorskip("torch")

import mergecraft  # noqa: E402
from mergecraft import MergeWarning, StateDict, dict_map, layer_merge, model_merge  # noqa: E402

RTE = [str(EXAMPLES / f"rte-{i}") for i in (1, 2)]


class Net(torch.nn.Module):
    def __init__(self, tie=False):
        super().__init__()
        self.emb = torch.nn.Embedding(10, 4)
        self.l1 = torch.nn.Linear(4, 4)
        self.bn = torch.nn.BatchNorm1d(4)
        self.out = torch.nn.Linear(4, 10, bias=False)
        self.register_buffer("pos", torch.arange(5))
        self.register_buffer("scale", torch.rand(3))
        if tie:
            self.out.weight = self.emb.weight


def nets(count=3, tie=False):
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(Net(tie))
    return found


def mean(models, name="l1.weight"):
    return sum(model.state_dict()[name] for model in models) / len(models)


def test_full_state_dicts():
    models = nets()
    with pytest.warns(MergeWarning, match="not floats"):
        merged = mergecraft.soup([model.state_dict() for model in models])
    assert list(merged) == list(models[0].state_dict())  # the order of the first dict
    assert torch.equal(merged["pos"], models[0].pos)
    torch.testing.assert_close(merged["scale"], mean(models, "scale"))
    Net().load_state_dict(merged)


def test_dtypes_of_arithmetic():
    a = StateDict(
        x=torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
        y=torch.ones(2, dtype=torch.float64),
        z=torch.ones(2, dtype=torch.float16),
        i=torch.tensor([1, 2]),
    )
    b = StateDict(x=torch.ones(2), y=torch.ones(2), z=torch.ones(2, dtype=torch.bfloat16),
                  i=torch.ones(2).long())
    found = {name: tensor.dtype for name, tensor in (a + b).items()}
    assert found == {"x": torch.float32, "y": torch.float64, "z": torch.float32, "i": torch.int64}
    assert (a / 2)["i"].tolist() == [0.5, 1.0] and (a / 2)["x"].dtype == torch.bfloat16
    mapped = dict_map(lambda models: sum(models) / 2)([a.subset(["x", "z"]), b.subset(["x", "z"])])
    assert mapped["x"].dtype == mapped["z"].dtype == torch.float32


def test_a_coefficient_for_each_layer():
    models = nets(2)
    vector = (StateDict.from_model(models[0]) - models[1]).subset(["l1.*", "emb.*"])
    numbers = dict_map(lambda models: float(models[0].norm()))([vector])
    tensors = vector.map(torch.Tensor.norm)
    for norms in (numbers, tensors):
        unit = vector / norms
        for name in vector:
            torch.testing.assert_close(unit[name], vector[name] / vector[name].norm())
        assert (norms * unit - vector).norm() < 1e-5
    factors = StateDict((name, torch.tensor(0.5, requires_grad=True)) for name in vector)
    (factors * vector).flatten().square().sum().backward()
    assert all(factor.grad is not None for factor in factors.values())
    assert (vector**2)["l1.weight"].equal(vector["l1.weight"] ** 2)
    assert abs(vector)["l1.weight"].equal(vector["l1.weight"].abs())


def test_tied_weights():
    tied, single = nets(2, tie=True), nets(1)[0]
    merged = mergecraft.soup(tied)
    assert merged.out.weight is merged.emb.weight
    torch.testing.assert_close(merged.emb.weight.detach(), mean(tied, "emb.weight"))
    merged = mergecraft.soup([tied[0], single])
    torch.testing.assert_close(merged.out.weight.detach(),
                               (tied[0].emb.weight + single.out.weight).detach() / 2)
    with pytest.warns(MergeWarning, match="out.weight"):  # the last one has no place for it
        mergecraft.soup([single, tied[0]])
    vector = StateDict.from_model(tied[0]) - tied[1]
    again = (StateDict.from_model(tied[1]) + vector).to_model(tied[1])
    torch.testing.assert_close(again.out.weight, tied[0].emb.weight)
    assert again.out.weight is again.emb.weight


def test_results_share_no_memory_with_their_inputs():
    model = nets(1)[0]
    before = model.l1.weight.detach().clone()
    state = StateDict.from_model(model)
    for made in (state.to_model(model), mergecraft.soup([model, model]),
                 mergecraft.median([model])):
        made.l1.weight.data.zero_()
        assert torch.equal(model.l1.weight, before) and torch.equal(state["l1.weight"], before)
    single = {"x": torch.ones(2)}
    for made in (mergecraft.soup([single]), StateDict(single) * 1,
                 copy.deepcopy(StateDict(single))):
        made["x"].zero_()
        assert single["x"].sum() == 2
    state *= 2
    assert torch.equal(model.l1.weight, before)


def test_functions_may_change_their_inputs():
    models = nets()
    before = [model.l1.weight.detach().clone() for model in models]

    @layer_merge
    def layer(models):
        models[0].zero_()
        models[0] += models[1]
        return models[0]

    @model_merge
    def whole(models):
        for name in models[0]:
            models[0][name].mul_(0)
        models[0] += models[1]
        return models[0]

    for function in (layer, whole):
        assert torch.equal(function(models).l1.weight, before[1])
        assert torch.equal(function([StateDict.from_model(m) for m in models])["l1.weight"],
                           before[1])
        assert all(torch.equal(model.l1.weight, old) for model, old in zip(models, before))


def test_partial_dicts():
    state = StateDict.from_model(nets(1)[0])
    changed = state.copy()
    changed += {"l1.weight": torch.ones(4, 4)}
    assert torch.equal(changed["l1.weight"],
                       state["l1.weight"] + 1) and changed.keys() == state.keys()
    with pytest.warns(MergeWarning, match="nope"):
        changed += {"nope": torch.ones(1), "l1.bias": torch.ones(4)}
    with pytest.warns(MergeWarning, match="left as in Net"):
        made = StateDict({"l1.weight": torch.ones(4, 4)}).to_model(nets(1)[0])
    assert torch.equal(made.l1.weight, torch.ones(4, 4))


def test_copies_and_pickles():
    state = StateDict.from_model(nets(1)[0])
    for protocol in range(2, 6):
        assert StateDict(pickle.loads(pickle.dumps(state, protocol))) == state
    file = io.BytesIO()
    torch.save({"model": state, "step": 3}, file)
    file.seek(0)
    assert StateDict(torch.load(file, weights_only=True)["model"]) == state
    assert copy.copy(state)["l1.weight"] is state["l1.weight"]
    assert pickle.loads(pickle.dumps(mergecraft.ties)) is copy.deepcopy(
        mergecraft.ties) is mergecraft.ties
    from_file = StateDict.from_hf(RTE[0])
    assert pickle.loads(pickle.dumps(from_file)) == from_file


@pytest.mark.parametrize(
    "make",
    [
        dict,
        OrderedDict,
        StateDict,
        lambda state: {**state},
        lambda state: state | {},
        lambda state: {} | state,
        lambda state: dict(zip(state.keys(), state.values())),
        lambda state: {name: state.pop(name) for name in list(state)},
        lambda state: OrderedDict(reversed([state.popitem() for _ in range(len(state))])),
    ],
)
def test_every_way_to_the_tensors_of_a_file(make):
    names = list(StateDict.from_hf(RTE[0]))
    made = make(StateDict.from_hf(RTE[0]))
    assert list(made) == names and all(torch.is_tensor(tensor) for tensor in made.values())
    assert "embeddings" in names[0] and names[-1].startswith("classifier")


def test_gradients():
    models = [StateDict.from_model(model) for model in nets(2)]
    factors = torch.nn.Parameter(torch.tensor([0.5, 0.5]))
    blend = dict_map(lambda models: sum(f * m for f, m in zip(factors, models)))
    for dtype in (torch.float32, torch.float16):
        factors.grad = None
        result = blend([model.map(lambda t: t.to(dtype)) for model in models])  # noqa: B023
        assert result["l1.weight"].dtype == dtype
        result["l1.weight"].float().sum().backward()
        assert factors.grad.abs().sum() > 0
    assert (factors[0] * models[0])["l1.weight"].requires_grad
    with torch.no_grad():
        assert not (factors[0] * models[0])["l1.weight"].requires_grad
    with pytest.warns(MergeWarning, match="gradients do not flow"):
        mergecraft.soup.layer([factors * 1, factors * 2])
    merged = mergecraft.soup(nets(2))
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_numpy_arrays():
    a = {"x": numpy.ones((2, 2), numpy.float32), "y": numpy.arange(3.0)}
    b = {"x": numpy.full((2, 2), 3, numpy.float32), "y": numpy.zeros(3)}
    assert mergecraft.soup([a, b])["x"].tolist() == [[2, 2], [2, 2]]
    assert (numpy.float32(2) * StateDict(a))["x"].tolist() == [[2, 2], [2, 2]]
    assert (StateDict(a) - b)["x"].tolist() == [[-2, -2], [-2, -2]]

    @layer_merge
    def median(models):
        return numpy.median(numpy.stack([numpy.asarray(model) for model in models]), axis=0)

    models = nets()
    expected = torch.stack([m.l1.weight.detach() for m in models]).median(0).values
    torch.testing.assert_close(median(models).l1.weight.detach(), expected)


def test_generators_and_other_iterables():
    models = nets()
    weighted = sum((i + 1) * model.l1.weight.detach() for i, model in enumerate(models)) / 6
    for weights in ((w for w in (1, 2, 3)), numpy.array([1, 2, 3]), torch.tensor([1.0, 2, 3]),
                    range(1, 4)):
        merged = mergecraft.soup((model for model in models), weights=weights)
        torch.testing.assert_close(merged.l1.weight.detach(), weighted)
    merged = mergecraft.soup(dict(enumerate(models)).values())
    torch.testing.assert_close(merged.l1.weight.detach(), mean(models))


def test_kinds_are_not_mixed_except_for_the_base():
    models = nets()
    for mixed in ([models[0], models[1].state_dict()], [RTE[0], models[0]], [models[0], RTE[0]]):
        with pytest.raises(mergecraft.ArgumentError, match=r"models\[0\]"):
            mergecraft.soup(mixed)
    base = StateDict.from_model(models[0], buffers=True).filter(torch.is_floating_point)
    found = mergecraft.task(models[1:], base_model=base)
    torch.testing.assert_close(found.l1.weight, mergecraft.task(models).l1.weight)


def test_devices():
    models = nets()
    state = StateDict.from_model(mergecraft.soup(models, device="cpu"))
    assert state.to("cpu").to(torch.device("cpu")) == state
    assert state.to(torch.float16)["l1.weight"].dtype == torch.float16
    with pytest.raises(mergecraft.Error, match="meta device"):
        mergecraft.soup([state.to("meta")] * 2)


def test_excluded_tensors():
    models = nets()

    @layer_merge
    def first(models):
        return models[0]

    for method in (mergecraft.soup, first, mergecraft.median):
        merged = method(models, exclude=["emb.*", "out.*"], keep=1)
        assert torch.equal(merged.emb.weight, models[1].emb.weight)
        assert torch.equal(merged.out.weight, models[1].out.weight)
        assert not torch.equal(merged.l1.weight, models[1].l1.weight)
    assert torch.equal(mergecraft.task(models, exclude="emb.*", keep=models[2]).emb.weight,
                       models[2].emb.weight)
    with pytest.warns(MergeWarning, match="no tensor name matches"):
        mergecraft.soup(models, exclude="nope.*")
    with pytest.raises(mergecraft.UsageError, match="keep: expected one of the models"):
        mergecraft.task(models, exclude="emb.*", keep=0)  # the base


def test_views_and_empty_tensors():
    w = torch.arange(12.0).reshape(3, 4)
    a, b = {"w": w.T, "e": torch.ones(1).expand(3, 3)}, {"w": torch.zeros(4, 3),
                                                         "e": torch.zeros(3, 3)}
    assert torch.equal(mergecraft.soup([a, b])["w"], w.T / 2)
    copied = StateDict(a).copy()
    copied["e"][0, 0] = 5
    assert a["e"].sum() == 9 and copied["e"].sum() == 13
    empty = mergecraft.soup([{"x": torch.zeros(0, 3), "y": torch.tensor(float(i))} for i in (2, 4)])
    assert empty["x"].shape == (0, 3) and empty["y"] == 3


def test_precision_is_not_lost_in_silence():
    models = nets(2)
    with pytest.warns(MergeWarning, match="rounded from float32 to float16"):
        merged = mergecraft.soup([models[0], copy.deepcopy(models[1]).half()])
    assert merged.l1.weight.dtype == torch.float16
    assert mergecraft.soup(models, dtype="f16").l1.weight.dtype == torch.float16
    with pytest.raises(mergecraft.MismatchError, match="rounded"):
        mergecraft.soup([models[0], copy.deepcopy(models[1]).half()], strict=True)


@needs_transformers
def test_models_of_images(tmp_path):
    import transformers

    image = pytest.importorskip("PIL.Image").fromarray(numpy.arange(192,
            dtype=numpy.uint8).reshape(8, 8, 3))
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4, num_labels=3
    )
    processor = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    paths = [str(tmp_path / str(i)) for i in range(2)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        transformers.ViTForImageClassification(config).save_pretrained(path)
        processor.save_pretrained(path)
    merged = mergecraft.soup(paths)  # the task comes from the configuration
    assert len(merged(image)) == 3
    modules = [transformers.ViTForImageClassification.from_pretrained(path) for path in paths]
    torch.testing.assert_close(merged.model.classifier.weight.detach(),
                               mean(modules, "classifier.weight"))
    state = StateDict.from_hf(paths[0])
    back = state.to_model(modules[1], strict=True)
    assert all(torch.equal(p, q) for p, q in zip(back.parameters(), modules[0].parameters()))
    assert (state - modules[0]).norm() == 0 and len(state - modules[0]) == len(state)
    by_fisher = mergecraft.fisher(paths, [image])
    assert len(by_fisher(image)) == 3
    mergecraft.soup(paths, out=tmp_path / "merged")
    again = transformers.pipeline("image-classification", str(tmp_path / "merged"))
    assert again(image) == merged(image)


@needs_transformers
def test_tasks_and_what_they_drop():
    made = mergecraft.soup(RTE, task="zero-shot-classification")
    assert len(made("A man sleeps.", candidate_labels=["sleep", "work"])["scores"]) == 2
    with pytest.warns(MergeWarning,
                      match="2 tensors are not in BertModel and left out: classifier"):
        made = mergecraft.soup(RTE, task="feature-extraction")
    assert type(made.model).__name__ == "BertModel"


@needs_transformers
def test_bare_and_headed_language_models(tmp_path):
    import transformers

    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=8,
                                     bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    models = [transformers.GPT2LMHeadModel(config) for _ in range(2)]
    models[0].transformer.save_pretrained(tmp_path / "bare")
    bare = StateDict.from_hf(tmp_path / "bare")
    made = bare.to_model(models[1])
    assert torch.equal(made.transformer.wte.weight, models[0].transformer.wte.weight)
    assert made.lm_head.weight is made.transformer.wte.weight
    with pytest.warns(MergeWarning, match="matched with 'transformer.'"):
        merged = mergecraft.ties(models, base_model=models[0].transformer, k=0.5)
    assert merged.lm_head.weight is merged.transformer.wte.weight


def test_merges_on_several_threads_of_python():
    from concurrent.futures import ThreadPoolExecutor

    models = nets()
    ties = mergecraft.ties(models).l1.weight
    layered = layer_merge(lambda models: sum(models) / len(models))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: (mergecraft.ties(models).l1.weight,
                                         layered(models).l1.weight), range(8)))
    assert all(torch.equal(a, ties) for a, _ in found)
    for _, b in found:
        torch.testing.assert_close(b.detach(), mean(models))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(mergecraft.dare(models, seed=1).l1.weight,
                           mergecraft.dare(models, seed=1).l1.weight)
