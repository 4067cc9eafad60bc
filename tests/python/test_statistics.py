"""Statistics of models, and the methods that take them."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import EXAMPLES, needs_transformers

import mergecraft
from mergecraft import ArgumentError, MismatchError, StateDict, UsageError

ROWS = [
    {"sentence1": "Every surgeon slept.", "sentence2": "A medic slept.", "label": "entailment"},
    {"sentence1": "Lena is a poet.", "sentence2": "A medic slept.", "label": "not_entailment"},
    {"sentence1": "A red ball is here.", "sentence2": "The box is green.", "label": "entailment"},
]
PAIRS = [(row["sentence1"], row["sentence2"]) for row in ROWS]
NAMES = [str(EXAMPLES / f"rte-{i}") for i in (1, 2)]

pytestmark = pytest.mark.filterwarnings("ignore::mergecraft.MergeWarning")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def observed(tmp_path, data, **keywords):
    return [
        mergecraft.observe(name, data, out=tmp_path / f"{i}.stats", **keywords)
        for i, name in enumerate(NAMES)
    ]


def merged(method, *arguments, **keywords):
    folder = keywords.pop("folder")
    method(NAMES, *arguments, out=folder, **keywords)
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", [mergecraft.fisher, mergecraft.regmean])
def test_dataset_or_statistics(method, tmp_path):
    files = observed(tmp_path, ROWS)
    first = merged(method, ROWS, folder=tmp_path / "a")
    assert first == merged(method, dataset=PAIRS, folder=tmp_path / "b")
    assert first == merged(method, statistics=files, folder=tmp_path / "c")
    assert first != merged(method, PAIRS[:1], folder=tmp_path / "d")


def test_equal_models_stay(tmp_path):
    made = tmp_path / "same"
    mergecraft.fisher([NAMES[0]] * 2, ROWS, out=made)
    before, after = StateDict.from_hf(NAMES[0]), StateDict.from_hf(str(made))
    assert all(abs(after[name] - before[name]).max() < 1e-6 for name in before)


def test_cache(tmp_path):
    path = mergecraft.observe(NAMES[0], PAIRS)
    assert path.startswith(str(tmp_path / "cache"))
    assert mergecraft.observe(NAMES[0], ROWS, fishers=True) == path
    assert mergecraft.observe(NAMES[1], ROWS) != path
    assert mergecraft.observe(NAMES[0], ROWS, form="empirical") != path


def test_errors(tmp_path):
    files = observed(tmp_path, ROWS, fishers=False)
    with pytest.raises(MismatchError, match="found those of another model"):
        mergecraft.regmean(NAMES, statistics=files[::-1], out=tmp_path / "out")
    with pytest.raises(mergecraft.NotFoundError, match="'fishers'"):
        mergecraft.fisher(NAMES, statistics=files, out=tmp_path / "out")
    with pytest.raises(ArgumentError, match="expected a dataset, statistics"):
        mergecraft.fisher(NAMES)
    with pytest.raises(UsageError, match="form"):
        mergecraft.observe(NAMES[0], ROWS, form="other")
    with pytest.raises(UsageError, match="column"):
        mergecraft.observe(NAMES[0], [{"a": "b"}])
    with pytest.raises(UsageError, match="one per model"):
        mergecraft.fisher(NAMES, statistics=files[:1])
    with pytest.raises(UsageError, match="at least one example"):
        mergecraft.fisher(NAMES, [])


def test_add_ons_after_methods_that_run_models(tmp_path):
    base, add_on = EXAMPLES / "base", {"lines": {"beta": 0.5}}
    for method, options in ((mergecraft.regmean_plus, {}), (mergecraft.adamerging, {"steps": 1})):
        plain, changed = (
            merged(method, dataset=ROWS, base_model=base, folder=tmp_path / name, **options, **then)
            for name, then in (("plain", {}), ("changed", {"then": add_on}))
        )
        assert plain != changed
        for name in ("plain", "changed"):
            shutil.rmtree(tmp_path / name)
    with pytest.raises(UsageError, match="expected lines, svc or boost, found 'liens'"):
        mergecraft.soup(NAMES, base_model=base, then="liens", out=tmp_path / "out")
    # The method has no base_index=0: no model may silently become the base.
    with pytest.raises(ArgumentError, match="needs a base"):
        mergecraft.soup(NAMES, then="lines", out=tmp_path / "out")


@needs_transformers
def test_pipelines_as_in_0x(tmp_path):
    from transformers import pipeline

    merged(mergecraft.fisher, ROWS, folder=tmp_path / "a")
    made = mergecraft.fisher([pipeline("text-classification", name) for name in NAMES], ROWS)
    expected = StateDict.from_hf(str(tmp_path / "a"))
    found = made.model.state_dict()
    assert all((found[name] == expected[name]).all() for name in expected)
    with pytest.warns(mergecraft.MergeWarning, match="pipelines has no effect"):
        merged(mergecraft.fisher, dataset=ROWS, pipelines=[made], folder=tmp_path / "b")
    again = StateDict.from_hf(str(tmp_path / "b"))
    assert all((again[name] == expected[name]).all() for name in expected)


# ---- torch ---------------------------------------------------------------------------------------


@needs_transformers
def test_torch_computes_what_c_does(tmp_path):
    from transformers import pipeline

    for form in ("exact", "empirical"):
        in_c = mergecraft.observe(NAMES[0], ROWS, out=tmp_path / f"c-{form}", form=form,
                                  label="label")
        called = pipeline("text-classification", NAMES[0])
        called.model.register_forward_hook(lambda *_: None)  # the pipeline's own model is observed
        in_torch = mergecraft.observe(called, ROWS, out=tmp_path / f"t-{form}", form=form,
                                      label="label")
        a, b = StateDict.from_hf(in_c), StateDict.from_hf(in_torch)
        assert a.keys() == b.keys()
        for name in a:
            assert (a[name] - b[name]).norm() <= 1e-4 * a[name].norm() + 1e-12, name
        for method in (mergecraft.fisher, mergecraft.regmean):
            found = [
                StateDict.from_hf(method([NAMES[0]] * 2, statistics=[s] * 2,
                                         out=tmp_path / f"{form}{i}{method.__name__}"))
                for i, s in enumerate((in_c, in_torch))
            ]
            assert all((found[0][n] - found[1][n]).abs().max() < 1e-5 for n in found[0])


def network(seed, outputs=3):
    import torch

    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Dropout(),
        torch.nn.Linear(16, outputs)
    )


@needs_transformers
def test_modules_of_any_architecture(tmp_path):
    import torch

    models = [network(seed) for seed in (1, 2)]
    models[0][0].weight.requires_grad_(False)
    batches = [(torch.randn(5, 2, 4, 4), torch.zeros(5)), (torch.randn(3, 2, 4, 4), torch.zeros(3))]
    path = mergecraft.observe(models[0], iter(batches), out=tmp_path / "a.stats")
    assert models[0].training and not models[0][0].weight.requires_grad
    found = StateDict.from_hf(path)
    models[0].eval()
    inputs = torch.cat([x for x, _ in batches])
    with torch.no_grad():
        hidden = models[0][:3](inputs)
    torch.testing.assert_close(found["grams/4.weight"], hidden.T @ hidden / 8)
    total = {name: torch.zeros_like(p) for name, p in models[0].named_parameters()}
    models[0][0].weight.requires_grad_(True)
    for x in inputs:
        logs = models[0](x[None]).log_softmax(-1)[0]
        for log in logs:
            models[0].zero_grad()
            log.backward(retain_graph=True)
            for name, p in models[0].named_parameters():
                total[name] += log.detach().exp() * p.grad.square() / 8
    for name, expected in total.items():
        torch.testing.assert_close(found[f"fishers/{name}"], expected)
    merged = mergecraft.fisher(models, (batch for batch in batches))
    others = [path, mergecraft.observe(models[1], batches, out=tmp_path / "b.stats")]
    again = mergecraft.fisher(models, statistics=others)
    assert all(torch.equal(p, q) for p, q in zip(merged.parameters(), again.parameters()))
    assert not torch.equal(merged[4].weight, mergecraft.soup(models)[4].weight)
    with pytest.raises(MismatchError, match="another model"):
        mergecraft.fisher(models, statistics=others[::-1])
    with pytest.raises(mergecraft.ExistsError):
        mergecraft.observe(models[0], batches, out=path)
    with pytest.raises(UsageError, match="out: expected a file"):
        mergecraft.observe(models[0], batches)
    with pytest.raises(mergecraft.UnsupportedError, match=r"logits of shape \[examples, labels\]"):
        mergecraft.observe(models[0][:2], batches, out=tmp_path / "c.stats")


@needs_transformers
def test_padding_does_not_count(tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ElectraConfig(
        hidden_size=8, embedding_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, vocab_size=20
    )
    model = transformers.ElectraForSequenceClassification(config).eval()
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    padded = [{"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1])}]
    single = [{"input_ids": ids[:1]}, {"input_ids": ids[1:, :2]}]
    a, b = (
        StateDict.from_hf(mergecraft.observe(model, data, out=tmp_path / str(i)))
        for i, data in enumerate((padded, single))
    )
    assert a.keys() == b.keys() and any("query" in n
                                        for n in a) and not any(
                                            "grams/electra.encoder.layer.0.attention.self.key" in n
                                            for n in a)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    half = mergecraft.observe(model, padded, out=tmp_path / "half", examples=1)
    assert "grams/classifier.dense.weight" in StateDict.from_hf(half)


# ---- methods that run the merged model -----------------------------------------------------------

TASKS = [str(EXAMPLES.parent / "bench" / f"{task}-1") for task in ("entailment", "sentiment")]
TEXTS = [["a red ball is here .", "no medic slept ."], ["lena is a poet .", "the box is green ."]]
BASE = str(EXAMPLES / "base")


@pytest.mark.parametrize("method, keywords", [
    (mergecraft.regmean_plus, {}),
    (mergecraft.adamerging, {"base_model": BASE, "steps": 3, "lr": 0.1}),
])
def test_models_of_several_tasks(method, keywords, tmp_path):
    def run(name, **data):
        method(TASKS, out=tmp_path / name, exclude="classifier.*", **keywords, **data)
        return (tmp_path / name / "model.safetensors").read_bytes()

    pairs = [(first, "A medic slept.") for first in TEXTS[0]]
    first = run("a", datasets=[pairs, TEXTS[1]])
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 2
    in_order = [f for name in TASKS for f in files if f"{name}\"".encode() in f.read_bytes()]
    assert first == run("b", statistics=in_order)
    assert first != run("c", datasets=[pairs, TEXTS[1][:1]])
    assert first != run("d", dataset=TEXTS[1])
    with pytest.raises(UsageError, match="datasets: expected a list of 2 data sets"):
        run("e", datasets=[pairs])
    with pytest.raises(UsageError, match="expected dataset or datasets, found both"):
        run("e", dataset=pairs, datasets=[pairs, pairs])


def entropy_of(model, head, texts):
    """The mean entropy of the predictions of one model's encoder with another one's head."""
    import numpy

    tensors = StateDict.from_hf(head)
    merged = StateDict.from_hf(model)
    tensors.update((name, merged[name]) for name in merged if "classifier" not in name)
    logits = mergecraft.Pipeline(head).load(tensors).logits(texts, verbose=False)
    p = numpy.exp(logits - numpy.max(logits, axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return float(-(p * numpy.log(p)).sum(axis=1).mean())


def test_coefficients_start_as_task_arithmetic_and_lower_the_entropy(tmp_path):
    data = [[(text, "A medic slept.") for text in TEXTS[0]], TEXTS[1]]
    for steps in (0, 5):
        mergecraft.adamerging(TASKS, base_model=BASE, datasets=data, steps=steps, lr=0.1,
                              exclude="classifier.*", dtype="f32", out=tmp_path / str(steps))
    plain = mergecraft.task([StateDict.from_hf(name) for name in TASKS],
                            base_model=StateDict.from_hf(BASE), scale=0.3, scaling="sum",
                            exclude="classifier.*", dtype="f32")
    start = StateDict.from_hf(str(tmp_path / "0"))
    merged = [n for n in start if n.startswith("bert.encoder")]
    assert merged and all(abs(start[n] - plain[n]).max() < 1e-6 for n in merged)
    before, after = (
        sum(entropy_of(str(tmp_path / str(steps)), head, texts) for head, texts in zip(TASKS, data))
        for steps in (0, 5)
    )
    assert after < before


def test_greedy_soup_on_examples(tmp_path):
    names = [str(EXAMPLES / f"rte-{i}") for i in range(1, 5)]
    path = str(EXAMPLES / "data" / "validation.tsv")
    rows = [{"sentence1": a, "sentence2": b, "label": ["entailment", "not_entailment"][int(y)]}
            for a, b, y in mergecraft._core.glue_data("rte", "validation", path).examples()[:60]]

    def score(models):
        mergecraft.soup(models, out=tmp_path / "soup", overwrite=True)
        return mergecraft.evaluate(str(tmp_path / "soup"), "rte", path=path, limit=60,
                                   verbose=False)["accuracy"]

    scores = [score([name]) for name in names]
    order = sorted(range(len(names)), key=lambda i: -scores[i])
    members, best = order[:1], scores[order[0]]
    for i in order[1:]:
        found = score([names[j] for j in sorted([*members, i])])
        if found > best:
            members, best = [*members, i], found
    mergecraft.greedy_soup(names, rows, out=tmp_path / "greedy")
    expected = mergecraft.soup([StateDict.from_hf(names[i]) for i in sorted(members)])
    made = StateDict.from_hf(str(tmp_path / "greedy"))
    assert all((made[name] == expected[name]).all() for name in expected)
    with pytest.raises(ArgumentError, match="expected a dataset or weights"):
        mergecraft.greedy_soup(names)
    with pytest.raises(UsageError, match="found several"):
        mergecraft.greedy_soup(names, rows, weights=[1, 0, 1, 1])
    with pytest.raises(ArgumentError, match="datasets"):
        mergecraft.greedy_soup(names, datasets=[rows] * len(names))
    with pytest.raises(UsageError, match="found several"):
        mergecraft.greedy_soup(names, rows, weights=pytest.importorskip("numpy").ones(4))
    with pytest.raises(ArgumentError, match="which has a tokenizer"):
        mergecraft.greedy_soup([StateDict.from_hf(name) for name in names], rows)


@needs_transformers
def test_greedy_soup_of_pipelines(tmp_path):
    from transformers import pipeline

    names = NAMES
    expected = mergecraft.greedy_soup(names, ROWS).model.state_dict()
    made = mergecraft.greedy_soup([pipeline("text-classification", name) for name in names], ROWS)
    found = made.model.state_dict()
    assert all((found[name] == expected[name]).all() for name in expected)


# ---- what is reported ----------------------------------------------------------------------------

LONG = {"sentence1": "A medic slept. " * 200, "sentence2": "A man sleeps.", "label": "entailment"}
GUESSED = "order of the data's is assumed"


def without_label_names(folder):
    """Copies the models, with labels whose names have no meaning; returns their paths."""
    names = []
    for i, name in enumerate(NAMES):
        names.append(str(shutil.copytree(name, folder / f"unnamed-{i}")))
        path = folder / f"unnamed-{i}" / "config.json"
        path.chmod(0o644)
        config = json.loads(path.read_text())
        config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
        config["label2id"] = {"LABEL_0": 0, "LABEL_1": 1}
        path.write_text(json.dumps(config))
    return names


@pytest.mark.parametrize("method, options", [
    (mergecraft.fisher, {}), (mergecraft.regmean_plus, {}), (mergecraft.greedy_soup, {}),
    (mergecraft.adamerging, {"steps": 1, "base_model": EXAMPLES / "base"}),
])
def test_truncated_examples_are_reported(method, options, tmp_path):
    with pytest.warns(mergecraft.MergeWarning, match="1 of 4 examples were truncated"):
        method(NAMES, dataset=[*ROWS, LONG], out=tmp_path / "out", **options)
    with pytest.raises(MismatchError, match=r"1 of 4 examples were truncated \(strict\)"):
        method(NAMES, dataset=[*ROWS, LONG], out=tmp_path / "strict", strict=True, **options)
    assert not (tmp_path / "strict").exists()


def test_a_guessed_order_of_labels_and_fewer_examples_are_reported(tmp_path, monkeypatch):
    names = without_label_names(tmp_path)
    path = tmp_path / "data.tsv"
    path.write_text("sentence1\tsentence2\tlabel\nA\tB\tentailment\nC\tD\tnot_entailment\n")
    monkeypatch.setattr(mergecraft._evaluation, "_glue",
                        lambda *_: mergecraft._core.glue_data("rte", "validation", str(path)))
    with pytest.warns(mergecraft.MergeWarning, match=GUESSED):
        mergecraft.observe(names[0], "rte", form="empirical")
    with pytest.warns(mergecraft.MergeWarning, match=GUESSED):
        mergecraft.greedy_soup(names, "rte", out=tmp_path / "out")
    with pytest.raises(MismatchError, match=GUESSED):
        mergecraft.greedy_soup(names, "rte", out=tmp_path / "strict", strict=True)
    with pytest.warns(mergecraft.MergeWarning, match="examples: expected 9, found 3"):
        mergecraft.observe(NAMES[0], ROWS, examples=9)


@needs_transformers
def test_observing_in_torch_reports_the_same(tmp_path):
    from transformers import pipeline

    called = pipeline("text-classification", NAMES[0])
    called.model.register_forward_hook(lambda *_: None)  # so that torch runs it
    for match in ("1 of 4 examples were truncated", "examples: expected 9, found 4", "singular"):
        with pytest.warns(mergecraft.MergeWarning, match=match):
            mergecraft.observe(called, [*ROWS, LONG] if match != "singular" else ["A"], examples=9,
                               fishers=False, out=tmp_path / "a.stats", overwrite=True)


# ---- names on disk -------------------------------------------------------------------------------


@needs_transformers
def test_gram_matrices_have_the_names_of_files(tmp_path):
    """transformers 5 loads some architectures under other names than their files have."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=4, patch_size=2, num_channels=1, num_labels=2
    )
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "model")
    batch = {"pixel_values": torch.randn(3, 1, 4, 4)}
    path = mergecraft.observe(model, [batch], fishers=False, out=tmp_path / "a.stats")
    found = StateDict.from_hf(path)
    in_file = StateDict.from_hf(str(tmp_path / "model"))
    names = {name.removeprefix("grams/") for name in found}
    assert names <= in_file.keys()
    inputs = {}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(
            lambda _, x, name=name: inputs.__setitem__(name, x[0].detach().reshape(-1, 8)))
    model(**batch)
    # By the weights' values: the hooks know the module's names only.
    by_value = {n: next(l for l, m in layers.items() if torch.equal(m.weight, in_file[n]))
                for n in names}
    for name, layer in by_value.items():
        x = inputs[layer]
        torch.testing.assert_close(found[f"grams/{name}"], x.T @ x / len(x))
    merged = mergecraft.regmean([model, model], statistics=[path, path])
    for name, value in model.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name), value, rtol=1e-3, atol=1e-4)
