"""Statistics of the small encoders by torch, for tests/nn/trace.c.

make_statistics.py writes NAME/statistics.safetensors beside the models of make_nn.py: for the
sequences of cases.json, computed in float64 one sequence at a time and stored as float32,
  grams/WEIGHT    XᵀX / rows of the inputs of each linear layer, from hooks
  fishers/WEIGHT  the exact Fisher information, the mean over sequences of Σ p(y) (∂ log p(y))²;
                  of a regression (∂ f)²
Needs torch, transformers and safetensors.
"""
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

HERE = Path(__file__).parent


def inputs_of(case):
    ids = torch.tensor([case["ids"]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def statistics(folder):
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float64).eval()
    for module in model.modules():  # torch has no derivatives of the rows of padding tokens
        if isinstance(module, torch.nn.Embedding):
            module.padding_idx = None
    types = "distilbert" not in folder.name
    grams, rows, fishers = {}, {}, {}

    def hook(name):
        def observe(module, args):
            x = args[0].detach().reshape(-1, args[0].shape[-1])
            grams[name] = grams.get(name, 0) + x.T @ x
            rows[name] = rows.get(name, 0) + len(x)
        return observe

    handles = [module.register_forward_pre_hook(hook(name))
               for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    cases = json.loads((folder / "cases.json").read_text())
    for case in cases:
        inputs = inputs_of(case)
        if types:
            inputs["token_type_ids"] = torch.tensor([case["types"]])
        logits = model(**inputs).logits[0]
        if len(logits) == 1:
            terms = [(1.0, logits[0])]
        else:
            logs = logits.log_softmax(-1)
            terms = [(p.item(), log) for p, log in zip(logs.exp(), logs)]
        for p, term in terms:
            model.zero_grad()
            term.backward(retain_graph=True)
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    fishers[name] = fishers.get(name, 0) + p * parameter.grad ** 2 / len(cases)
    for handle in handles:
        handle.remove()
    result = {f"grams/{name}.weight": gram / rows[name] for name, gram in grams.items()}
    result |= {f"fishers/{name}": fisher for name, fisher in fishers.items()}
    return {name: value.float().contiguous() for name, value in result.items()}


for name in ("bert", "bert_odd", "bert_silu", "roberta", "distilbert"):
    save_file(statistics(HERE / name), HERE / name / "statistics.safetensors")
