#!/usr/bin/env python3
"""Writes the tokenizers of tests/tokenizer/golden.c, and the tokens that the tokenizers package
finds with them.

    python3 -m venv .venv && .venv/bin/pip install tokenizers==0.23.3
    .venv/bin/python tests/data/tokenizer/make_tokenizers.py
"""
import os

import cases

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
COUNT = 300


def write(name, made):
    """NAME/tokenizer.json, and NAME/golden.txt with a line for each text."""
    folder = os.path.join(HERE, name)
    cases.save(made, folder)
    tokenizer = cases.load(folder)
    with open(os.path.join(folder, "golden.txt"), "w", encoding="ascii") as file:
        for text, pair, length in cases.random_cases(name, COUNT):
            tokens = " ".join(f"{i}:{t}" for i,
                              t in zip(*cases.expected(tokenizer, text, pair, length)))
            file.write(f"{length} .{text.hex()} {'-' if pair is None else '.' + pair.hex()} = "
                       f"{tokens}\n")


def main():
    cases.check_version()
    with open(os.path.join(ROOT, "examples/models/data/train.tsv"), encoding="utf-8") as file:
        lines = file.read().split("\n")[:2000]
    for name, made in cases.bert_variants(cases.bert(lines, 600)).items():
        write(name, made)
    for name, made in cases.roberta_variants(cases.roberta(lines, 700)).items():
        write(name, made)


main()
