"""The package itself: which module imports which, module paths of 0.x, line lengths."""

from __future__ import annotations

import ast
import importlib
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
