"""What the decorators take: every kind of callable of Python works, or one error says why not."""

from __future__ import annotations

import copy
import functools
import operator
import pickle

import pytest
from conftest import same, tensor

import mergecraft
from mergecraft import ArgumentError, StateDict, dict_map, layer_merge, model_merge


def dicts():
    return [{"x": tensor([1.0, 2.0])}, {"x": tensor([3.0, 4.0])}]


def mean(models):
    return sum(models) / len(models)


def scaled(models, scale=1.0, *more, offset=0.0):
    return sum(models) * scale + sum(more) + offset


def positional(models, scale=1.0, /):
    return sum(models) * scale


def keyword(*, models):
    return sum(models) / len(models)


def around(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Callable:
    """Means."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, models):
        return self.factor * mean(models)

    def method(self, models):
        return self.factor * mean(models)

    @staticmethod
    def static(models):
        return mean(models)

    @classmethod
    def of_class(cls, models):
        return mean(models)


def layers_of(function):
    """The function on layers as one on state dicts."""
    return lambda models, *args, **kw: {n: function([m[n] for m in models], *args, **kw)
                                        for n in models[0]}


WORKING = [
    mean,
    lambda models: sum(models) / 2,
    lambda models, /: mean(models),
    keyword,
    around(mean),
    functools.partial(mean),
    functools.partial(scaled, scale=0.5),
    functools.partial(lambda k, models: mean(models) * k, 1),
    Callable(),
    Callable().method,
    Callable.static,
    Callable.of_class,
    functools.wraps(mean)(around(mean)),
]


@pytest.mark.parametrize("number", range(len(WORKING)))
def test_callables(number, tmp_path):
    function = WORKING[number]
    same(dict_map(function)(dicts())["x"], [2, 3])
    same(dict_map(function)(models=dicts())["x"], [2, 3])
    same(layer_merge(function)(dicts())["x"], [2, 3])
    layer_merge(function).to_folder(dicts(), tmp_path / "out")
    same(StateDict.from_hf(tmp_path / "out")["x"], [2, 3])


def test_functions_of_c():
    """Some tell no signature, and those of numpy a wrong one."""
    import numpy

    for decorate in (dict_map, layer_merge, model_merge):
        same(decorate(operator.itemgetter(1))(dicts())["x"], [3, 4])
        same(decorate(sum)(dicts())["x"], [4, 6])
    arrays = [{"x": numpy.array([1.0, 4.0])}, {"x": numpy.array([3.0, 2.0])}]
    same(dict_map(lambda models: numpy.maximum.reduce([numpy.asarray(m)
                                                       for m in models]))(arrays)["x"], [3, 4])
    if isinstance(StateDict(arrays[0])._layer("x"), numpy.ndarray):
        same(layer_merge(numpy.maximum.reduce)(arrays)["x"], [3, 4])


def test_further_arguments():
    for merge in (dict_map(scaled), layer_merge(scaled), model_merge(layers_of(scaled))):
        same(merge(dicts())["x"], [4, 6])
        same(merge(dicts(), 2.0)["x"], [8, 12])
        same(merge(dicts(), 2.0, 10.0, 20.0, offset=1.0)["x"], [39, 43])
    for merge in (dict_map(positional), layer_merge(positional)):
        same(merge(dicts())["x"], [4, 6])
        same(merge(dicts(), 2.0)["x"], [8, 12])
        same(merge(dicts(), scale=2.0)["x"], [8, 12])


def test_the_name_of_the_layer():
    seen = []
    for function in (
        lambda models, layer_name: seen.append(layer_name),
        lambda models, layer_name, /: seen.append(layer_name),
        lambda models, *args, **kw: seen.append(kw["layer_name"]),
        lambda models, **kw: seen.append(kw["layer_name"]),
    ):
        with pytest.raises(ArgumentError,
                           match="expected a value, found None|expected a tensor, found NoneType"):
            layer_merge(function)(dicts())
    assert seen == ["x"] * 4


def test_the_base_by_position():
    @layer_merge
    def at(models, base_index=0):
        return models[base_index]

    @layer_merge
    def apart(models, base_model):
        return base_model + 0 * sum(models)

    same(at(dicts())["x"], [1, 2])
    same(at(dicts(), 1)["x"], [3, 4])
    same(at(dicts(), base_index=tensor(1, "int64"))["x"], [3, 4])
    same(apart(dicts(), dicts()[1])["x"], [3, 4])


def test_the_list_by_its_own_name():
    @layer_merge
    def own(checkpoints):
        return checkpoints[0]

    same(own(checkpoints=dicts())["x"], [1, 2])
    same(own(models=dicts())["x"], [1, 2])
    with pytest.raises(ArgumentError,
                       match=r"own\(\) misses the argument 'checkpoints', a list of models"):
        own()


def test_methods_of_a_class():
    class Merges:
        factor = 10

        @layer_merge
        def layers(self, models):
            return self.factor * models[0]

        @model_merge
        def whole(self, models):
            return StateDict(models[0]) * self.factor

        @dict_map(["models", "others"])
        def two(self, models, others):
            return self.factor * (models[0] + others[0])

        @staticmethod
        @layer_merge
        def static(models):
            return models[1]

        function = layer_merge(mean)

    merges = Merges()
    same(merges.layers(dicts())["x"], [10, 20])
    same(merges.whole(dicts())["x"], [10, 20])
    same(merges.two(dicts(), dicts())["x"], [20, 40])
    same(merges.static(dicts())["x"], [3, 4])
    same(merges.function(dicts())["x"], [2, 3])


async def waits(models):
    return models[0]


async def waits_and_yields(models):
    yield models[0]


def yields(models):
    yield models[0]


class Waits:
    async def __call__(self, models):
        return models[0]


def test_callables_that_cannot_be(recwarn):
    first = (r"expected a first parameter that takes the list of (tensors|state dicts), "
             r"found \*models: write <lambda>\(models\)")
    for function, text in (
        (lambda *models: 0, first),
        (lambda *models, scale=1: 0, first),
        (lambda *args, models, **kw: 0, r"found \*args"),
        (lambda: 0, "expected a parameter for the list of"),
        (lambda **kw: 0, "expected a parameter for the list of"),
        (waits, r"waits\(\): expected a plain function, found an async one"),
        (waits_and_yields, "found an async one"),
        (functools.partial(waits), "found an async one"),
        (Waits(), "found an async one"),
        (yields, r"yields\(\): expected a plain function, found a generator"),
    ):
        for decorate in (dict_map, layer_merge, model_merge):
            with pytest.raises(ArgumentError, match=text):
                decorate(function)
    for decorate in (layer_merge, model_merge, dict_map(["models"]), dict_map()):
        with pytest.raises(ArgumentError, match=r"expected a function, found int"):
            decorate(5)
    with pytest.raises(ArgumentError,
                       match="expected a function or names of its parameters, found 5"):
        dict_map(5)
    with pytest.raises(ArgumentError, match="expected names of parameters, found an empty list"):
        dict_map([])(mean)
    for taken in (mergecraft.soup, layer_merge(mean), dict_map(mean)):
        with pytest.raises(ArgumentError,
                           match=r"dict_map\(\): expected a function on one layer, found <"):
            dict_map(taken)
    same(model_merge(mergecraft.soup)(dicts())["x"], [2, 3])
    assert not recwarn.list


def test_arguments_that_are_missing_or_too_many():
    def needs(models, k):
        return models[0] * k

    called = []
    for decorate in (dict_map, layer_merge, model_merge):
        with pytest.raises(ArgumentError, match=r"needs\(\) misses the argument 'k'"):
            decorate(needs)(dicts())
        with pytest.raises(ArgumentError, match=r"mean\(\) takes 1 positional arguments, found 3"):
            decorate(mean)(dicts(), 1, 2)
        with pytest.raises(ArgumentError, match=r"misses the argument 'base_index'"):
            decorate(lambda models, base_index: called.append(1))(dicts())
    assert not called


def test_names_and_help():
    assert layer_merge(functools.partial(mean)).__name__ == "mean"
    assert layer_merge(Callable()).__name__ == "Callable" and "Means" in layer_merge(
        Callable()).__doc__
    assert repr(model_merge(functools.partial(mean))) == "<merge mean>"


decorated = layer_merge(scaled)


@layer_merge
def by_name(models):
    return models[0]


@dict_map
def map_by_name(models):
    return models[0]


def test_pickling_and_copies():
    """Merges go to other processes, as functions do."""
    for merge in (by_name, map_by_name, mergecraft.soup, mergecraft.ties):
        assert pickle.loads(pickle.dumps(merge)) is merge
        assert copy.deepcopy(merge) is merge
        assert copy.copy(merge) is merge
    again = pickle.loads(pickle.dumps(decorated))
    same(again(dicts(), 2.0)["x"], [8, 12])
    same(copy.deepcopy(decorated)(dicts())["x"], [4, 6])
    same(pickle.loads(pickle.dumps(dict_map(["models"])(scaled)))(dicts())["x"], [4, 6])
