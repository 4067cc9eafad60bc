"""What tests against torch on real models have in common: checks, runs of the command, models."""
import subprocess
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

failures = []


def check(what, ok, detail=""):
    print(f"{'ok  ' if ok else 'FAIL'} {what} {detail}")
    if not ok:
        failures.append(what)


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def load(folder):
    # The files may be float16; transformers would compute in it.
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager",
                                                               dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def relative(found, expected):
    norm = expected.double().norm().clamp_min(1e-300)
    return ((found.double() - expected.double()).norm() / norm).item()
