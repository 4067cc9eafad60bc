"""The tutorial's notebook for mergecraft 0.x, cell by cell as it stands, on real models that a
Hub on the loopback interface serves under the tutorial's names: the same weights as torch, the
same accuracy as the transformers pipeline gives on the merged model.

tutorial.py MODELS RTE      MODELS: minilm-base and minilm-rte-1 … -5; RTE: the validation split
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = [
    "textattack/bert-base-uncased-RTE",
    "yoshitomo-matsubara/bert-base-uncased-rte",
    "Ruizhou/bert-base-uncased-finetuned-rte",
    "howey/bert-base-uncased-rte",
    "anirudh21/bert-base-uncased-finetuned-rte",
]
BASE = "google-bert/bert-base-uncased"

CELLS = [
    "%load_ext autoreload\n%autoreload 2",
    """from transformers import pipeline
from typing import List
from torch import Tensor
import torch
from mergecraft import layer_merge, StateDict, dict_map, model_merge, evaluate_glue_pipeline""",
    """@dict_map
def median_layer_merging(models: List[Tensor], **kw) -> Tensor:
    return torch.median(torch.stack(models), dim=0).values

@model_merge
def median(models: List[StateDict], **kw) -> StateDict:
    return median_layer_merging(models)""",
    f"""%%time
models = {NAMES!r}
merged_model = median(models, task='text-classification')""",
    "score = evaluate_glue_pipeline(merged_model, 'rte')\nscore",
    """@layer_merge
def max_magnitude(models: List[Tensor], base_index: int = 0, **kw) -> Tensor:
    vectors = torch.stack(models) - models[base_index]
    return models[base_index] + vectors.gather(0, vectors.abs().argmax(0, keepdim=True))[0]

merged_2 = max_magnitude(models, base_index=0, task='text-classification')""",
]

# What is checked, after the tutorial's own cells.
CHECKS = [
    """
import numpy, warnings, mergecraft
from transformers import AutoModelForSequenceClassification

parents = [AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32)
           for path in PATHS]
layers = [{n: p.detach() for n, p in one.named_parameters()} for one in parents]
def compare(module, expected, tolerance=1e-6, relative=0):
    found = dict(module.named_parameters())
    assert found.keys() == layers[0].keys()
    for name in found:
        value = expected(torch.stack([layer[name] for layer in layers]), name)
        difference = (found[name].detach().float() - value).abs() - relative * value.abs()
        assert float(difference.max()) <= tolerance, name
# The models are stored as float16, and so are their merges: half a unit in the last place.
HALF = {'relative': 2 ** -11}
medians = lambda stack, name: torch.median(stack, dim=0).values
compare(merged_model.model, medians, 0)
""",
    """
compare(median(parents), medians)                                              # modules, float32
compare(median([pipeline('text-classification', model=m, tokenizer=merged_model.tokenizer)
                for m in parents]).model, medians)
""",
    """
means = lambda stack, name: stack.mean(0)
head = ['classifier.weight', 'classifier.bias']
passed = lambda stack, name: means(stack, name) if name in head else medians(stack, name)
compare(median(models, task='text-classification', passthrough_layers=head).model, passed, **HALF)
compare(median(parents, passthrough_layers=head), passed)
pipelines = [pipeline('text-classification', model=m, tokenizer=merged_model.tokenizer)
             for m in parents]
compare(median(pipelines, passthrough_layers=head).model, passed)
""",
    """
# A base without a head; torch's own task arithmetic beside it.
base = AutoModelForSequenceClassification.from_pretrained(BASE_PATH, dtype=torch.float32)
start = {n: p.detach().float() for n, p in base.named_parameters()}
headless = {n: p for n, p in start.items() if not n.startswith('classifier')}
def task(stack, name):
    return means(stack, name) if name in head else start[name] + 1.5 * (stack - start[name]).mean(0)
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    compare(mergecraft.task(layers, base_model=headless, scale=1.5).to_model(parents[0]), task)
    merged = mergecraft.task(models, base_model=BASE_NAME, scale=1.5, dtype='f32',
                             passthrough_layers=head)
    compare(merged.model, task)
""",
    """
# Parents in three formats and two dtypes.
import os, tempfile
folder = tempfile.mkdtemp()
mixed = []
for i, (one, path) in enumerate(zip(parents, PATHS)):
    to = os.path.join(folder, str(i))
    os.makedirs(to)
    one.config.save_pretrained(to)
    merged_model.tokenizer.save_pretrained(to)
    tensors = {n: p.detach() for n, p in one.named_parameters()}
    if i % 2:
        tensors = {n: p.half() for n, p in tensors.items()}
    if i < 2:
        torch.save(tensors, os.path.join(to, 'pytorch_model.bin'))
    elif i < 4:
        torch.save(tensors, os.path.join(to, 'pytorch_model.bin'),
                   _use_new_zipfile_serialization=False)
    else:
        StateDict(tensors).save(os.path.join(to, 'model.safetensors'))
    mixed.append(to)
from_mixed = median(mixed, task='text-classification')
assert {p.dtype for p in from_mixed.model.parameters()} == {torch.float32}
compare(from_mixed.model, medians, 0)
""",
    """
# The same accuracy as the pipeline of transformers, in float32, called one by one.
floats = median(parents)
called = pipeline('text-classification', model=floats, tokenizer=merged_model.tokenizer,
                  device='cpu')
examples = mergecraft._core.glue_data('rte', 'validation', RTE).examples()
right = sum((called({'text': a, 'text_pair': b}, truncation=True)['label'] != 'LABEL_0')
            == bool(label) for a, b, label in examples)
assert score == {'accuracy': right / len(examples)}, (score, right / len(examples))
assert evaluate_glue_pipeline(called, 'rte') == score
print('accuracy', score, 'max magnitude', evaluate_glue_pipeline(merged_2, 'rte'))
""",
]


def serve(models: Path, root: Path) -> subprocess.Popen:
    """Lays the models out under the tutorial's names, and starts the Hub. The last line it
    prints first is its address."""
    for name, folder in [*zip(NAMES, sorted(models.glob("minilm-rte-*"))),
                         (BASE, models / "minilm-base")]:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder.resolve())
    server = Path(__file__).resolve().parents[1] / "hub" / "server.py"
    return subprocess.Popen([sys.executable, str(server), "--root", str(root)],
                            stdout=subprocess.PIPE, text=True)


def notebook(settings: str):
    import nbformat

    cells = [nbformat.v4.new_code_cell(text) for text in [*CELLS, settings, *CHECKS]]
    return nbformat.v4.new_notebook(cells=cells)


def main() -> None:
    import nbclient

    models, rte = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as work:
        hub = serve(models, Path(work) / "hub")
        try:
            address = hub.stdout.readline().split()[-1]
            os.environ.update(HF_ENDPOINT=address, HF_HOME=str(Path(work) / "home"),
                              MERGECRAFT_DATA=str(rte))
            paths = [str(path) for path in sorted(models.glob("minilm-rte-*"))]
            base = str(models / "minilm-base")
            settings = ("PATHS, BASE_PATH, BASE_NAME, RTE = "
                        f"{paths!r}, {base!r}, {BASE!r}, {str(rte)!r}")
            done = notebook(settings)
            nbclient.NotebookClient(done, timeout=600).execute()
        finally:
            hub.terminate()
            hub.wait()
    shown = [o.get("text", "") for cell in done.cells for o in cell.outputs
             if o.output_type == "stream"]
    print("".join(shown)[-400:])
    print(f"ok   the tutorial's {len(CELLS)} cells, and {len(CHECKS)} of checks")


if __name__ == "__main__":
    main()
