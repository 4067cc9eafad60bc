"""Trial and search(): scores equal those of merges, with Optuna and without."""

import json

import mergecraft
import pytest
from conftest import EXAMPLES
from mergecraft import ArgumentError, UsageError

MODELS = [str(EXAMPLES / f"rte-{i}") for i in (1, 2, 3)]
BASE = str(EXAMPLES / "base")
DATA = str(EXAMPLES / "data")
COMMON = {"base_model": BASE, "data": DATA, "passthrough": "classifier.*", "verbose": False}

pytestmark = pytest.mark.filterwarnings("ignore::mergecraft.MergeWarning")


def test_a_trial_has_the_score_of_the_merge(tmp_path):
    trial = mergecraft.Trial("task", MODELS, eval="rte", **COMMON)
    for scale in (0.5, 1.25):
        folder = tmp_path / str(scale)
        mergecraft.task(
            MODELS, base_model=BASE, passthrough="classifier.*", scale=scale, out=str(folder)
        )
        expected = mergecraft.evaluate(str(folder), "rte", path=DATA, verbose=False)
        assert trial(scale=scale) == expected["accuracy"]
        found = trial.evaluate(scale=scale)
        assert found.predictions == expected.predictions
        assert found.loss == expected.loss


def test_a_trial_takes_values_per_model_and_fixed_parameters():
    trial = mergecraft.Trial(mergecraft.task, MODELS, eval="rte", metric="loss", scale=2, **COMMON)
    one = trial(weights=[1, 0, 0])
    assert one == trial(weights=[1, 0, 0], scale=2)
    assert one != trial(weights=[0, 1, 0])


def test_a_trial_rejects_what_it_cannot_score():
    with pytest.raises(UsageError, match="did you mean 'ties'"):
        mergecraft.Trial("tie", MODELS, eval="rte", **COMMON)
    trial = mergecraft.Trial("task", MODELS, eval="rte", metric="f2", limit=10, **COMMON)
    with pytest.raises(UsageError, match="accuracy or loss"):
        trial(scale=1)
    with pytest.raises(ArgumentError, match="skale"):
        trial(skale=1)
    with pytest.raises(ArgumentError, match="expected \\(low, high\\)"):
        trial.objective(scale=3)


def test_optuna_finds_the_best_of_a_grid():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trial = mergecraft.Trial("task", MODELS, eval="rte", limit=100, **COMMON)
    scales = [0.5, 1.0, 1.5]
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.GridSampler({"scale": scales})
    )
    study.optimize(trial.objective(scale=(0.1, 2.0)), n_trials=3)
    assert study.best_value == max(trial(scale=scale) for scale in scales)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    asked = study.ask()
    study.tell(asked, trial(scale=asked.suggest_float("scale", 0.1, 2.0)))
    assert study.best_value == trial(**study.best_params)


def test_a_search_is_a_list_of_dicts(tmp_path):
    journal = tmp_path / "journal.jsonl"
    options = {"eval": "rte", "seed": 3, "validate": 0.3, "journal": journal, **COMMON}
    space = {"scale": (0.1, 2.0), "scaling": ["mean", "sum"]}
    found = mergecraft.search("task", MODELS, space, trials=4, out=tmp_path / "best", **options)
    assert [row["trial"] for row in found] == [1, 2, 3, 4]
    assert found.best["score"] == max(row["score"] for row in found)
    assert set(found.parameters) == {"scale", "scaling"}
    assert found.best["rte.accuracy"] == found.best["score"]
    ((value, error),) = found.held_out.values()
    assert 0 < error < value < 1
    assert mergecraft.evaluate(str(tmp_path / "best"), "rte", path=DATA)["accuracy"] > 0.5
    record = json.loads((tmp_path / "best" / "mergecraft.json").read_text())
    assert record["search"]["parameters"] == found.parameters
    more = mergecraft.search("task", MODELS, space, trials=6, resume=True, **options)
    assert more[:4] == found[:]
    assert len(more) == 6
    with pytest.raises(mergecraft.Error, match="space"):
        mergecraft.search("task", MODELS, {"scale": (0, 3.0)}, resume=True, **options)


def test_a_search_scores_single_models():
    found = mergecraft.search(
        "task", MODELS, "scale=.5:1.5:2", strategy="grid", eval={"rte": 2}, parents=True, **COMMON
    )
    assert len(found) == 2
    assert list(found.parents) == MODELS


def test_tasks_with_heads_of_their_own():
    bench = EXAMPLES.parent / "bench"
    models = [str(bench / "entailment-1"), str(bench / "paraphrase-1")]
    options = {
        "eval": ["rte", "mrpc:accuracy"],
        "data": {
            "rte": str(bench / "data" / "entailment.jsonl"),
            "mrpc": str(bench / "data" / "paraphrase.jsonl"),
        },
        "exclude": ["classifier.*", "*.pooler.*"],
        "base_model": BASE,
        "limit": 60,
        "verbose": False,
    }
    heads = dict(zip(("rte", "mrpc"), models))
    found = mergecraft.search("task", models, "scale=.5|1", trials=1, heads=heads, **options)
    # The last model's head is kept: its task has the score of the merge as it is.
    plain = mergecraft.search("task", models, "scale=.5|1", trials=1, **options)
    assert found[0]["mrpc.accuracy"] == plain[0]["mrpc.accuracy"]
    assert found[0]["rte.accuracy"] != plain[0]["rte.accuracy"]
    with pytest.raises(UsageError, match="one of the tasks of eval, found 'sst2'"):
        mergecraft.search("task", models, "scale=.5|1", heads={"sst2": models[0]}, **options)


def test_trials_of_a_command():
    found = mergecraft.search(
        "soup", MODELS, "weights[*]=.1:1", command="echo 7; wc -c < {}/config.json", trials=2
    )
    assert [row["score"] for row in found] == [found[0]["score"]] * 2
    assert found[0]["score"] > 100


def test_pandas_and_plots():
    found = mergecraft.search("task", MODELS, "scale=.5:1.5", trials=3, eval="rte", **COMMON)
    pandas = pytest.importorskip("pandas")
    assert list(pandas.DataFrame(found)["trial"]) == [1, 2, 3]
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    assert len(found.plot().axes) == 2
