"""What researchers write: each idiom in a few lines, against plain torch."""

from __future__ import annotations

import copy
import io
import pickle
import tempfile
import warnings

import pytest
import torch
from torch.func import functional_call

import mergecraft
from mergecraft import MergeWarning, StateDict, dict_map, layer_merge, model_merge


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = torch.nn.Linear(4, 4)
        self.mlp = torch.nn.Linear(4, 4)
        self.LayerNorm = torch.nn.LayerNorm(4)

    def forward(self, x):
        return self.LayerNorm(x + self.mlp(torch.relu(self.attention(x))))


class Model(torch.nn.Module):
    def __init__(self, labels=2):
        super().__init__()
        self.layers = torch.nn.ModuleList([Block(), Block(), Block()])
        self.classifier = torch.nn.Linear(4, labels)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.classifier(x)


@pytest.fixture
def models():
    torch.manual_seed(0)
    base = Model()
    tuned = [copy.deepcopy(base) for _ in range(3)]
    with torch.no_grad():
        for model in tuned:
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return base, tuned


def parameters(model):
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def close(found, expected):
    found = parameters(found) if isinstance(found, torch.nn.Module) else found
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=lambda text: f"{name}: {text}")


def means(tuned):
    dicts = [parameters(model) for model in tuned]
    return {name: torch.stack([d[name] for d in dicts]).mean(0) for name in dicts[0]}


def test_weights_that_depend_on_the_depth(models):
    _, tuned = models

    @layer_merge
    def by_depth(models, layer_name):
        depth = int(layer_name.split(".")[1]) if layer_name.startswith("layers.") else 2
        share = depth / 2
        return (1 - share) * models[0] + share * models[1]

    result = parameters(by_depth(tuned[:2]))
    a, b = (parameters(model) for model in tuned[:2])
    close({"x": result["layers.0.mlp.weight"]}, {"x": a["layers.0.mlp.weight"]})
    close({"x": result["layers.1.mlp.weight"]},
          {"x": (a["layers.1.mlp.weight"] + b["layers.1.mlp.weight"]) / 2})
    close({"x": result["classifier.bias"]}, {"x": b["classifier.bias"]})


def test_another_method_for_each_layer(models):
    base, tuned = models

    @layer_merge
    def mixed(models, base_model, layer_name):
        if "attention" in layer_name:
            return mergecraft.ties.layer(models, base_model, k=0.5)
        return mergecraft.soup.layer(models)

    result = parameters(mixed(tuned, base_model=base))
    ties = parameters(mergecraft.ties([base, *tuned], k=0.5))
    expected = {n: ties[n] if "attention" in n else value for n, value in means(tuned).items()}
    close(result, expected)


def test_the_normalisation_of_one_model(models):
    _, tuned = models
    result = mergecraft.soup(tuned, exclude="*LayerNorm*", keep=0)
    first = parameters(tuned[0])
    close(result, {n: first[n] if "LayerNorm" in n else v for n, v in means(tuned).items()})


def test_attention_only(models):
    base, tuned = models
    vector = StateDict.from_model(tuned[0]) - base
    result = StateDict.from_model(base)
    result += vector.subset("*attention*")
    first, before = parameters(tuned[0]), parameters(base)
    close(result, {n: first[n] if "attention" in n else v for n, v in before.items()})


def test_weights_by_cosine(models):
    base, tuned = models
    vectors = [StateDict.from_model(model) - base for model in tuned]
    mean = sum(vectors) / len(vectors)
    weights = [vector.cosine(mean) for vector in vectors]
    flat = [torch.cat([v.reshape(-1) for v in vector.values()]).double() for vector in vectors]
    middle = torch.stack(flat).mean(0)
    expected = [float(torch.nn.functional.cosine_similarity(v, middle, dim=0)) for v in flat]
    assert weights == pytest.approx(expected, abs=1e-6)
    result = mergecraft.soup(tuned, weights=weights)
    total = sum(weights)
    dicts = [parameters(model) for model in tuned]
    close(result, {n: sum(w * d[n] for w, d in zip(weights, dicts)) / total for n in dicts[0]})


def test_task_vectors_of_low_rank(models):
    base, tuned = models

    def low_rank(tensor):
        if tensor.ndim != 2:
            return tensor
        u, s, v = torch.linalg.svd(tensor, full_matrices=False)
        return u[:, :1] * s[:1] @ v[:1]

    vector = (StateDict.from_model(tuned[0]) - base).map(low_rank)
    assert torch.linalg.matrix_rank(vector["layers.0.mlp.weight"], atol=1e-5) == 1
    result = (vector + base).to_model(base)
    assert not torch.equal(result.classifier.weight, base.classifier.weight)


def test_random_masks(models):
    base, tuned = models
    generator = torch.Generator().manual_seed(1)

    def masked(tensor):
        return tensor * (torch.rand(tensor.shape, generator=generator) < 0.5)

    vector = (StateDict.from_model(tuned[0]) - base).map(masked)
    kept = vector.flatten() != 0
    assert 0.3 < kept.float().mean() < 0.7


def test_lists_weighted_by_fisher(models):
    _, tuned = models

    @dict_map(["models", "fishers"])
    def weighted(models, fishers):
        total = sum(fishers)
        return sum(m * f for m, f in zip(models, fishers)) / total

    fishers = [StateDict.from_model(model).map(lambda tensor: tensor.square() + 1)
               for model in tuned]
    dicts = [StateDict.from_model(model) for model in tuned]
    result = weighted(dicts, fishers=fishers)
    expected = {
        n: sum(d[n] * f[n] for d, f in zip(dicts, fishers)) / sum(f[n] for f in fishers)
        for n in dicts[0]
    }
    close(result, expected)


def test_regression_means(models):
    """Gram matrices have another shape than the weights, and some layers have none."""
    _, tuned = models
    grams = [{"mlp": torch.eye(4) * (i + 1)} for i in range(2)]

    @dict_map(["models", "grams"])
    def regmean(models, grams):
        left = torch.linalg.inv(sum(grams))
        return (left @ sum(g @ m.T for g, m in zip(grams, models))).T

    dicts = [{"mlp": parameters(model)["layers.0.mlp.weight"]} for model in tuned[:2]]
    result = regmean(dicts, grams=grams)
    close(result, {"mlp": (dicts[0]["mlp"] + 2 * dicts[1]["mlp"]) / 3})


def test_a_sweep_of_interpolations(models):
    base, tuned = models
    start, vector = StateDict.from_model(base), StateDict.from_model(tuned[0]) - base
    before = start.copy()
    for factor in (0, 0.25, 0.5, 1):
        found = (start + factor * vector).to_model(base)
        expected = {n: before[n] + factor * vector[n] for n in before}
        close(found, expected)
    assert start == before


def test_a_greedy_soup(models):
    base, tuned = models
    x = torch.randn(16, 4)
    target = sum(model(x) for model in tuned).detach() / 3

    def score(model):
        return -float((model(x) - target).square().mean())

    chosen = []
    for model in sorted(tuned, key=score, reverse=True):
        trial = [*chosen, model]
        if not chosen or score(mergecraft.soup(trial)) >= score(mergecraft.soup(chosen)):
            chosen = trial
    assert score(mergecraft.soup(chosen)) >= max(score(model) for model in tuned)


def test_merges_of_merges(models):
    base, tuned = models
    inner = mergecraft.soup(tuned[:2])
    result = mergecraft.task([base, inner, tuned[2]], weights=[2, 1])
    assert isinstance(result, Model)
    again = mergecraft.soup([StateDict.from_model(inner), StateDict.from_model(tuned[2])])
    assert isinstance(again, StateDict) and again.copy() == again


def test_negation(models):
    base, tuned = models
    vector = StateDict.from_model(tuned[0]) - base
    result = StateDict.from_model(base) - vector
    close(result, {n: 2 * v - parameters(tuned[0])[n] for n, v in parameters(base).items()})
    close(mergecraft.task([base, tuned[0]], signs=[-1]), dict(result))


def loss_of(base, vectors, x, y):
    start = StateDict.from_model(base)

    def loss(factors):
        merged = start
        for factor, vector in zip(factors, vectors):
            merged = merged + factor * vector
        return torch.nn.functional.cross_entropy(functional_call(base, dict(merged), (x,)), y)

    return loss


@pytest.fixture
def problem(models):
    base, tuned = models
    x = torch.randn(64, 4)
    y = tuned[0](x).argmax(-1)
    vectors = [StateDict.from_model(model) - base for model in tuned[:2]]
    return loss_of(base, vectors, x, y)


def test_factors_by_autograd(problem):
    factors = torch.full((2,), 0.3, requires_grad=True)
    optimizer = torch.optim.Adam([factors], lr=0.1)
    before = float(problem(factors))
    for _ in range(20):
        optimizer.zero_grad()
        problem(factors).backward()
        optimizer.step()
    assert float(problem(factors)) < before and factors.grad.abs().sum() > 0


def test_factors_by_scipy(problem):
    optimize = pytest.importorskip("scipy.optimize")

    def of(values):
        return float(problem(list(values)))

    found = optimize.minimize(of, [0.3, 0.3], method="Nelder-Mead", options={"maxiter": 40})
    assert found.fun <= of([0.3, 0.3])


def test_factors_by_optuna(problem):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial):
        factors = [trial.suggest_float(f"factor_{i}", 0, 1) for i in range(2)]
        return float(problem(factors))

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial({"factor_0": 0.3, "factor_1": 0.3})
    study.optimize(objective, n_trials=12)
    assert len(study.trials) == 12 and study.best_value <= float(problem([0.3, 0.3]))


def test_one_factor_for_each_layer_by_autograd(models):
    base, tuned = models
    dicts = [parameters(base), parameters(tuned[0])]
    factors = {name: torch.tensor(0.5, requires_grad=True) for name in dicts[0]}

    @layer_merge
    def blend(models, layer_name):
        return models[0] + factors[layer_name] * (models[1] - models[0])

    merged = blend(dicts)
    functional_call(base, dict(merged), (torch.randn(8, 4),)).square().mean().backward()
    assert all(factor.grad is not None for factor in factors.values())


def test_singular_vectors_as_a_layer_function(models):
    base, tuned = models

    @layer_merge
    def tsv(models, base_model):
        vectors = [model - base_model for model in models]
        if base_model.ndim != 2:
            return base_model + sum(vectors) / len(vectors)
        k = max(1, min(base_model.shape) // len(vectors))
        parts = [torch.linalg.svd(v, full_matrices=False) for v in vectors]
        u = torch.cat([p[0][:, :k] for p in parts], 1)
        s = torch.cat([p[1][:k] for p in parts])
        v = torch.cat([p[2][:k] for p in parts], 0)
        (pu, _, qu), (pv, _, qv) = (torch.linalg.svd(m, full_matrices=False) for m in (u, v))
        return base_model + (pu @ qu) * s @ (pv @ qv)

    result = tsv(tuned, base_model=base)
    assert isinstance(result, Model) and torch.isfinite(result.classifier.weight).all()


def test_vision_modules():
    def network(seed):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(),
            torch.nn.LazyLinear(2)
        )
        for _ in range(3):
            model(torch.randn(5, 3, 6, 6))
        return model.eval()

    models = [network(seed) for seed in (1, 2)]
    result = mergecraft.soup(models)
    expected = (models[0][1].running_mean + models[1][1].running_mean) / 2
    torch.testing.assert_close(result[1].running_mean, expected)
    assert result(torch.randn(1, 3, 6, 6)).shape == (1, 2)


def test_heads_of_different_sizes(models):
    _, tuned = models
    other = Model(labels=3)
    result = mergecraft.soup([tuned[0], other], exclude="classifier.*", keep=tuned[0])
    assert result.classifier.out_features == 2
    assert torch.equal(result.classifier.weight, tuned[0].classifier.weight)
    a, b = parameters(tuned[0]), parameters(other)
    close({"x": parameters(result)["layers.0.mlp.bias"]},
          {"x": (a["layers.0.mlp.bias"] + b["layers.0.mlp.bias"]) / 2})


def test_folded_adapters():
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        vocab_size=20
    )
    models = []
    for _ in range(2):
        model = transformers.BertForSequenceClassification(config)
        lora = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"],
                               init_lora_weights=False)
        models.append(peft.get_peft_model(model, lora))
    with pytest.raises(mergecraft.UnsupportedError,
                       match=r"models\[0\].*PEFT adapter.*merge_and_unload"):
        mergecraft.soup(models)
    folded = [model.merge_and_unload() for model in models]
    close(mergecraft.soup(folded), means(folded))


def test_saved_loaded_and_pickled(models, tmp_path):
    _, tuned = models
    merged = mergecraft.soup([StateDict.from_model(model) for model in tuned])
    merged.save(tmp_path / "merged.safetensors")
    assert StateDict.from_hf(tmp_path / "merged.safetensors") == merged
    file = io.BytesIO()
    torch.save(merged, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert StateDict(loaded) == merged and list(loaded) == list(merged)
    Model().load_state_dict(merged)


def test_wrapped_modules(models):
    _, tuned = models
    expected = means(tuned)
    for wrap in (torch.nn.DataParallel, lambda m: torch.compile(m, backend="eager")):
        result = mergecraft.soup([wrap(model) for model in tuned])
        assert isinstance(result, Model)
        close(result, expected)
    quantised = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(quantised, {torch.nn.Linear})
    with pytest.raises(mergecraft.UnsupportedError, match="quantised"):
        mergecraft.soup([quantised] * 2)


def test_ordered_dicts_and_flat_vectors(models):
    from collections import OrderedDict

    base, _ = models
    sd = StateDict.from_model(base)
    assert isinstance(sd, OrderedDict)
    copied = sd.copy()
    copied.move_to_end("classifier.bias", last=False)
    assert next(iter(copied)) == "classifier.bias"
    vector = sd.flatten()
    assert torch.equal(copied.flatten(like=sd), vector)
    assert StateDict.unflatten(vector, like=sd) == sd
    assert sd.norm() == pytest.approx(float(vector.double().norm()))
    assert sd.dot(2 * sd) == pytest.approx(2 * sd.norm() ** 2) and sd.cosine(-sd) == pytest.approx(
            -1)
    assert "<table>" in sd._repr_html_() and list(sd.filter("classifier.*")) == [
        "classifier.weight", "classifier.bias"]


# ---- nothing is lost in silence ------------------------------------------------------------------


def built_in():
    """The methods that take two models and nothing else."""
    methods = {n: m for n in mergecraft.__all__ if isinstance(m := getattr(mergecraft, n),
                                                              mergecraft.Method)}
    return {
        name: method
        for name, method in methods.items()
        if not method._core.sides
        and not any(param["required"] for param in method._core.params)
        and method._core.counts[0] <= 2 - method._core.needs_base
    }


def saved(tensors):
    with tempfile.TemporaryDirectory() as folder:
        tensors.save(f"{folder}/model")
        return StateDict.from_hf(f"{folder}/model")


def operations(first, second):
    """Name → (operation, names that must be in its result unless it warns)."""

    @layer_merge
    def mean(models):
        return sum(models) / len(models)

    @model_merge
    def whole(models):
        return sum(models) / len(models)

    @dict_map(["models", "weights"])
    def weighted(models, weights):
        return models[0] * weights[0].sum()

    both, either = first.keys() | second.keys(), first.keys() | second.keys()
    shared = {name: None for name in first.keys() & second.keys()}
    return {
        "+": (lambda: first + second, both),
        "-": (lambda: first - second, both),
        "*": (lambda: first * second, both),
        "/": (lambda: first / second, both),
        "r+": (lambda: dict(first) + second, both),
        "r-": (lambda: dict(first) - second, both),
        "+=": (lambda: first.copy().__iadd__(second), both),
        "-=": (lambda: first.copy().__isub__(second), both),
        "*=": (lambda: first.copy().__imul__(second), both),
        "/=": (lambda: first.copy().__itruediv__(second), both),
        "**": (lambda: first**second, both),
        "coefficients": (lambda: first * second.map(torch.Tensor.norm), both),
        "dot": (lambda: (first.dot(second), shared)[1], both),
        "cosine": (lambda: (first.cosine(second), shared)[1], both),
        "dict_map": (lambda: dict_map(lambda models: models[0])([first, second]), both),
        "layer_merge": (lambda: mean([first, second]), either),
        "model_merge": (lambda: whole([first, second]), either),
        "soup": (lambda: mergecraft.soup([first, second]), either),
        "task": (lambda: mergecraft.task([first, second]), either),
        "base_model": (lambda: mergecraft.task([first], base_model=second), either),
        "exclude": (lambda: mergecraft.soup([first, second], exclude="x"), either),
        "passthrough": (lambda: mergecraft.soup([first, second], passthrough="x"), either),
        "add-on": (lambda: mergecraft.task([first, second], then="lines"), either),
        "lists": (lambda: weighted([first, first], weights=[second, second]), both),
        **{
            f"method {name}": (lambda method=method: method([first, second]), either)
            for name, method in built_in().items()
        },
        "to_model": (lambda: first.to_model(second), both),
        "or": (lambda: first | second, either),
        "copy": (first.copy, first.keys()),
        "map": (lambda: first.map(lambda tensor: tensor), first.keys()),
        "number": (lambda: 2 * first, first.keys()),
        "negative": (lambda: -first, first.keys()),
        "to": (lambda: first.to("cpu"), first.keys()),
        "pickle": (lambda: pickle.loads(pickle.dumps(first)), first.keys()),
        "save": (lambda: saved(first), first.keys()),
        "union": (lambda: second | dict(first), either),
        "scope model": (lambda: mergecraft.ties([second, first], trim="model"), either),
        "keep": (lambda: mergecraft.soup([first, second], exclude="y", keep=0), either),
        "zeros_like": (lambda: StateDict.zeros_like(first), first.keys()),
    }


@pytest.mark.parametrize("extra", [(), ("a",), ("b",), ("a", "b")])
def test_no_silent_loss(extra):
    first = StateDict(x=torch.ones(2), y=torch.ones(3))
    second = StateDict(x=torch.ones(2), y=torch.ones(3))
    if "a" in extra:
        first["a"] = torch.ones(1)
    if "b" in extra:
        second["b"] = torch.ones(1)
    assert len(built_in()) > 15
    for name, (operation, expected) in operations(first, second).items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            result = operation()
        missing = expected - result.keys()
        told = " ".join(str(each.message) for each in said
                        if issubclass(each.category, MergeWarning))
        assert all(layer in told
                   for layer in missing), f"{name}: {missing} lost in silence: {told!r}"


def test_names_of_bare_encoders():
    bare = StateDict({"embed.weight": torch.ones(2), "layer.0.weight": torch.ones(3)})
    headed = StateDict({f"bert.{name}": 2 * value for name, value in bare.items()})
    assert dict(headed - bare).keys() == headed.keys() and (bare - headed).keys() == bare.keys()
    headed["classifier.weight"] = torch.ones(1)
    with pytest.warns(MergeWarning, match="1 tensor is in one state dict only: classifier.weight"):
        assert list(headed - bare) == ["bert.embed.weight", "bert.layer.0.weight"]
    old = StateDict({"LayerNorm.gamma": torch.ones(1), "LayerNorm.beta": torch.ones(1)})
    new = StateDict({"LayerNorm.weight": torch.ones(1), "LayerNorm.bias": torch.ones(1)})
    assert list(new + old) == list(new)
