"""The package itself: which module imports which, module paths of 0.x, line lengths."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import mergecraft
from conftest import HAS_TORCH

PACKAGE = Path(mergecraft.__file__).parent

# A dict can become every kind of model and every kind of model has a dict: StateDict.to_model, save
# and push_to_hub import _outputs when they are called.
LATE = {("_state_dict", "_outputs")}


def imports(path):
    """Returns the package's own modules that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found.update(name.split(".")[0] for name in names)
    return {name for name in found if (PACKAGE / f"{name}.py").exists()}


def test_no_module_imports_itself_through_others():
    graph = {path.stem: imports(path) for path in PACKAGE.glob("_*.py")}
    del graph["__init__"]
    for module, late in LATE:
        graph[module].discard(late)
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {module for module, needed in graph.items() if module not in done
                 and needed <= done}
        assert ready, f"a circle among {sorted(set(graph) - done)}"
        done |= ready


def test_lines_have_100_columns():
    for path in [*PACKAGE.rglob("*.py"), PACKAGE / "_core.pyi"]:
        long = [i + 1 for i, line in enumerate(path.read_text().splitlines()) if len(line) > 100]
        assert not long, f"{path}: lines {long}"


def test_module_paths_of_0x():
    for name in ("dare", "fisher", "slerp", "soup", "stock", "task", "ties"):
        module = importlib.import_module(f"mergecraft.merging.{name}")
        assert getattr(module, name) is getattr(mergecraft, name)
    for path, names in {
        "merging.base": ["layer_merge", "model_merge"],
        "arithmetics.weights_wrapper": ["StateDict", "dict_map"],
        "evaluation": ["evaluate_glue_pipeline"],
    }.items():
        module = importlib.import_module(f"mergecraft.{path}")
        for name in names:
            assert getattr(module, name) is getattr(mergecraft, name)


def test_the_fisher_information_of_0x():
    if not HAS_TORCH:
        return
    import torch

    from mergecraft.computation.hessian import hess
    from mergecraft.computation.hf_extension import HessianCallback, add_callback

    class Model(torch.nn.Linear):
        def run(self, x):
            outputs = type("Outputs", (), {})()
            outputs.logits = self(x)
            return outputs

    model, x = Model(3, 2), torch.randn(1, 3)
    found = hess(model, model(x))
    p = torch.softmax(model(x)[0], -1).detach()
    # For one linear layer the gradient of log p(c) is (onehot(c) − p) ⊗ x.
    rows = torch.eye(2) - p
    expected = sum(p[c] * torch.outer(rows[c], x[0]) ** 2 for c in range(2))
    torch.testing.assert_close(found["weight"], expected)
    callback = HessianCallback(model)
    run = add_callback(model.run, callback)
    assert not run(model, x).logits.requires_grad and run(model, x) is not None
    torch.testing.assert_close(callback.get_hessian()["weight"], expected)


# ---- docstrings ----------------------------------------------------------------------------------

# Classes of results, which only the library makes.
RESULTS = {"Adapter", "Evaluation", "McNemar", "Method", "Search"}


def public():
    """Yields the qualified name of everything public, the object, and the class that it is of."""
    import mergecraft.lora
    import mergecraft.mergekit

    for module in (mergecraft, mergecraft.lora, mergecraft.mergekit):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, str):  # the version
                continue
            yield f"{module.__name__}.{name}", value, None
            if not isinstance(value, type):
                continue
            for own, member in vars(value).items():
                if not own.startswith("_"):
                    member = getattr(member, "__func__", member)
                    yield f"{module.__name__}.{name}.{own}", member, value


def undescribed(value, owner, name):
    """Returns what a docstring lacks: the docstring itself, or names of parameters."""
    import inspect

    if owner is not None and not callable(value) and not isinstance(value, property):
        return [] if name in owner.__doc__ else [name]  # an attribute
    text = value.__doc__ or ""
    if not text:
        return ["docstring"]
    if isinstance(value, property) or (isinstance(value, type) and value.__name__ in RESULTS):
        return []
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:  # exceptions
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    is_method = isinstance(value, mergecraft.Method)  # whose keywords Merge describes
    described = [p.name for p in parameters if p.kind not in variable
                 and not (is_method and p.kind is p.KEYWORD_ONLY)]
    words = set(re.findall(r"\w+", text))
    return [each for each in described if each not in words and each not in ("self", "cls")]


def test_every_public_name_is_described():
    lacking = {}
    for path, value, owner in public():
        if lacks := undescribed(value, owner, path.rpartition(".")[2]):
            lacking[path] = lacks
    assert not lacking


def test_keywords_of_every_merge_are_described():
    words = set(re.findall(r"\w+", mergecraft.Merge.__doc__))
    assert set(mergecraft._arguments.COMMON) <= words


def test_methods_name_their_papers():
    # The tutorial's, and what is no paper's.
    without = {"max_magnitude", "median", "trimmed_mean"}
    for name in mergecraft._builtin.__all__:
        method = getattr(mergecraft, name)
        has_paper = re.search(r"\b(19|20)\d\d\b", method.__doc__.split("Args:")[0])
        assert bool(has_paper) != (name in without), name
