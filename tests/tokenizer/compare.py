#!/usr/bin/env python3
"""Compares the tokens that the library finds with those of the tokenizers package: not one may
differ.

    compare.py LIBRARY DATA_DIR [--long]

LIBRARY: libmergecraft.so; DATA_DIR: with glue/rte (text) and models/parts/common (a real
vocabulary). The texts: those of RTE; code points, by themselves and between letters; random ones
of mixed scripts, some of it broken UTF-8. --long: every code point and 100,000 random texts for
each tokenizer, which takes a quarter of an hour; else every code point of the planes that are in
use, some of the others, and 100,000 texts in all.
"""
import concurrent.futures
import ctypes
import json
import multiprocessing
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "data/tokenizer"))
import cases  # noqa: E402

# Random texts for each tokenizer.
MANY, FEW = 30_000, 3_000
# Where code points are tried: the others differ in what becomes of whole words and tokens.
CODES = ("uncased", "cased", "accents", "not_normalized", "roberta")


class Encoding(ctypes.Structure):
    _fields_ = [("ids", ctypes.POINTER(ctypes.c_int32)), ("types", ctypes.POINTER(ctypes.c_uint8)),
                ("count", ctypes.c_size_t),
                ("capacity", ctypes.c_size_t), ("truncated", ctypes.c_bool),
                ("scratch", ctypes.c_void_p)]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("hint", ctypes.c_int), ("offset", ctypes.c_int64),
                ("token", ctypes.c_uint64), ("file", ctypes.c_char * 1024),
                ("tensor", ctypes.c_char * 256), ("text", ctypes.c_char * 4096)]


class Tokenizer:
    """The library's."""

    def __init__(self, library, folder):
        self.library = ctypes.CDLL(library)
        self.encode = self.library.mc_tokenizer_encode
        self.encode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                                ctypes.c_size_t,
                                ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
        self.handle, self.encoding, self.error = ctypes.c_void_p(), Encoding(), Error()
        if ctypes.CDLL(library).mc_tokenizer_open(folder.encode(), ctypes.byref(self.handle),
                                                  ctypes.byref(self.error)):
            raise SystemExit(f"{self.error.file.decode()}: {self.error.text.decode()}")

    def max_length(self):
        function = self.library.mc_tokenizer_max_length
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_size_t
        return function(self.handle)

    def __call__(self, text, pair, length):
        found = self.encoding
        if self.encode(self.handle, text, len(text), pair, len(pair or b""), length,
                       ctypes.byref(found), ctypes.byref(self.error)):
            raise SystemExit(self.error.text.decode())
        return found.ids[:found.count], found.types[:found.count]


def rte(data):
    import pyarrow.parquet
    for name in ("train", "validation"):
        table = pyarrow.parquet.read_table(os.path.join(data,
                                                        f"glue/rte/{name}.parquet")).to_pydict()
        yield from zip(table["sentence1"], table["sentence2"])


def rte_cases(data):
    for i, (text, pair) in enumerate(rte(data)):
        text, pair = text.encode(), pair.encode()
        yield text, pair, 0
        yield text, (pair, None)[i % 5 == 0], (128, 64, 33, 16)[i % 4]


def code_cases(every):
    """Planes 3 to 13 are empty but for a few, 15 and 16 for private use."""
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000 or (code >= 0x32000 and code >> 12 != 0xE0 and code % 61
                                       and not every):
            continue
        yield chr(code).encode(), None, 0
        yield f"a{chr(code)}b".encode(), None, 0


def compare(job):
    """Returns how many texts there were, and a text on each of the first that differ."""
    library, data, name, folder, long = job
    whole = os.path.join(folder, "whole")
    ours, theirs = Tokenizer(library, folder), cases.load(whole if os.path.exists(whole)
                                                          else folder)
    count = 100_000 if long else MANY if name in ("uncased", "roberta") else FEW
    texts = [*rte_cases(data), *cases.random_cases(name, count)]
    if name in CODES or long:
        texts += code_cases(long)
    length_now, different = 0, []
    for text, pair, length in texts:
        if length != length_now:
            theirs.enable_truncation(length) if length else theirs.no_truncation()
            length_now = length
        wanted = theirs.encode(*(t.decode("utf-8", "replace") for t in (text, pair)
                                 if t is not None))
        found = ours(text, pair, length)
        if (wanted.ids, wanted.type_ids) != found:
            different.append(f"{name}: {text[:200]} {pair} {length}: expected {wanted.ids[:60]}, "
                             f"found {found[0][:60]}")
    return name, len(texts), different


def split_files(base, folder):
    """The same tokenizer as vocab.json, merges.txt and what belongs to them, or as vocab.txt."""
    os.makedirs(folder)
    vocab = base["model"]["vocab"]
    config = {"added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"}
                                       for t in base["added_tokens"]},
              "model_max_length": 10 ** 30}
    if base["model"]["type"] == "WordPiece":
        with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
            file.writelines(f"{token}\n" for token in sorted(vocab, key=vocab.get))
        config["do_lower_case"] = base["normalizer"]["lowercase"]
    else:
        with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as file:
            json.dump(vocab, file)
        with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
            file.writelines(["#version: 0.2\n",
                             *(f"{a} {b}\n" for a, b in base["model"]["merges"])])
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


def make_tokenizers(data, work):
    """Names and folders. BERT's is a real one; RoBERTa's is trained here, and of about its size."""
    with open(os.path.join(data, "models/parts/common/tokenizer.json"), encoding="utf-8") as file:
        bert = json.load(file)
    lines = [text for pair in rte(data) for text in pair]
    roberta = cases.roberta(lines, 30_000)
    for name, variant in {**cases.bert_variants(bert), **cases.roberta_variants(roberta)}.items():
        cases.save(variant, os.path.join(work, name))
        yield name, os.path.join(work, name)
    for name, base in (("vocab_txt", bert), ("vocab_json", roberta)):
        split_files(base, os.path.join(work, name))
        # What the package reads; the library is to read the others.
        cases.save(base, os.path.join(work, name, "whole"))
        yield name, os.path.join(work, name)


def main():
    cases.check_version()
    library, data = os.path.abspath(sys.argv[1]), sys.argv[2]
    total, failures = 0, []
    with tempfile.TemporaryDirectory() as work:
        jobs = [(library, data, *made, "--long" in sys.argv)
                for made in make_tokenizers(data, work)]
        with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context(
            "spawn")) as pool:
            for name, count, different in pool.map(compare, jobs):
                print(f"{name}: {count} texts, {len(different)} differences", flush=True)
                total += count
                failures += different[:3]
    print("\n".join(failures) or f"{total} texts, no difference")
    return 1 if failures else 0


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    sys.exit(main())
