#!/usr/bin/env python3
"""Compares the tokens that the library finds in a model folder with those of transformers'
AutoTokenizer.

    compare_transformers.py LIBRARY [TEXTS]

LIBRARY: libmergecraft.so. Each folder has another mix of the files that make a tokenizer:
settings in tokenizer_config.json that contradict tokenizer.json, classes, added tokens in each
of the four places, old files and new ones. TEXTS: random texts per folder (300). transformers
must be 5.x; not one id may differ.
"""
import copy
import json
import os
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "data/tokenizer")]
import cases  # noqa: E402
import compare  # noqa: E402
import transformers  # noqa: E402

DATA = os.path.join(os.path.dirname(HERE), "data/tokenizer")
TEXTS = ["Hello World", "Café Ångström", "你好 world", "a<e1>b <e1> c",
         "new tokens here: <e2>, <e3>! <img> NewTok newtok",
         "x [MASK] y", "a <mask> b  <mask>", "<mask>c</s>d<s>", "[CLS] a [SEP]", " leading space",
         "trailing ", "a  b", "<unk> [UNK]",
         "ſtraße İstanbul", "<c> <s2> [X]", "e1 <E1> <e1>", "newtoknewtok", "  newtok  "]
EXTRA = {"content": "<e1>", "lstrip": False, "rstrip": False, "single_word": False,
         "normalized": False, "special": True}
WORD = {**EXTRA, "content": "newtok", "normalized": True, "special": False}


def read(name):
    with open(os.path.join(DATA, name, "tokenizer.json"), encoding="utf-8") as file:
        return json.load(file)


def decoder(stored, *more):
    """An added_tokens_decoder of the stored added tokens, and more of them behind the
    vocabulary."""
    tokens = {str(t["id"]): {k: v for k, v in t.items() if k != "id"}
              for t in stored["added_tokens"]}
    size = max([len(stored["model"]["vocab"]) - 1] + [t["id"] for t in stored["added_tokens"]]) + 1
    return {**tokens, **{str(size + i): token for i, token in enumerate(more)}}


def size_of(stored):
    return max([len(stored["model"]["vocab"]) - 1] + [t["id"] for t in stored["added_tokens"]]) + 1


def folders(model_type, stored, settings, class_name, special):
    """Names, and files as {name: JSON value or text}."""
    config = {"model_type": model_type}
    base = {"tokenizer_class": class_name, **special}
    size = size_of(stored)

    def folder(tokenizer_config, json_file=stored, **more):
        files = {"config.json": config, **more}
        if json_file is not None:
            files["tokenizer.json"] = json_file
        if tokenizer_config is not None:
            files["tokenizer_config.json"] = tokenizer_config
        return files

    for name, setting in settings.items():
        yield name, folder({**base, **setting})
        yield f"{name}, class from config.json", folder({**setting})
        yield f"{name}, as stored", folder({**base, **setting,
                                            "tokenizer_class": "PreTrainedTokenizerFast"})
        yield f"{name}, TokenizersBackend", folder({**base, **setting,
                                                    "tokenizer_class": "TokenizersBackend"})
        yield f"{name}, Fast", folder({**base, **setting, "tokenizer_class": class_name + "Fast"})
    yield "no tokenizer_config.json", folder(None)
    yield "decoder", folder({**base, "added_tokens_decoder": decoder(stored, EXTRA, WORD)})
    yield "decoder, as stored", folder({**base, "tokenizer_class": "PreTrainedTokenizerFast",
                                        "added_tokens_decoder": decoder(stored, EXTRA, WORD)})
    yield "decoder without the special tokens", folder({**base,
                                                        "added_tokens_decoder": {str(size): WORD}})
    yield "decoder, others ignored", folder({**base,
                                             "added_tokens_decoder": decoder(stored, EXTRA)},
                                            **{"added_tokens.json": {"<e2>": size + 1},
                                               "special_tokens_map.json": {
                                                   "additional_special_tokens": ["<e3>"]}})
    flags = copy.deepcopy(decoder(stored))
    for token in flags.values():
        if token["content"] in ("<mask>", "[MASK]"):
            token["lstrip"] = True
    yield "decoder, mask takes blanks", folder({**base, "added_tokens_decoder": flags})
    yield "added_tokens.json", folder(base,
                                      **{"added_tokens.json": {"<e1>": size, "newtok": size + 1}})
    yield "added_tokens.json, special", folder(
        base, **{"added_tokens.json": {"<e2>": size}, "special_tokens_map.json": {
            "additional_special_tokens": ["<e2>"]}})
    yield "special_tokens_map.json", folder(
        base, **{"special_tokens_map.json": {**special, "additional_special_tokens": [
            "<e2>", "<e3>"]}})
    mask = special.get("mask_token", "[MASK]")
    yield "special_tokens_map.json, objects", folder(
        base, **{"special_tokens_map.json": {"mask_token": {
            **EXTRA, "content": mask, "lstrip": True}}})
    yield "extra_special_tokens", folder({**base, "extra_special_tokens": ["<e1>", "<e2>"]})
    yield "extra_special_tokens by name", folder({**base,
                                                  "extra_special_tokens": {"img_token": "<img>"}})
    yield "additional_special_tokens", folder({**base, "additional_special_tokens": ["<e3>"]})
    yield "a special token of its own", folder({**base, "image_token": "<img>"})
    longer = cases.added(stored, ("newtok", ["normalized"]), ("<e1>", ["special"]))
    yield "added in tokenizer.json", folder(base, longer)
    yield "added in tokenizer.json, as stored", folder({
        "tokenizer_class": "PreTrainedTokenizerFast"}, longer)
    yield "added in both", folder({**base, "extra_special_tokens": ["<e2>"]}, longer)
    yield "another separator", folder({**base, "sep_token": stored["added_tokens"][0]["content"]})
    yield "model_max_length", folder({**base, "model_max_length": 77})
    yield "max_len", folder({**base, "max_len": 78})


def bert_folders():
    stored = read("uncased")
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
               "cls_token": "[CLS]", "mask_token": "[MASK]"}
    settings = {"plain": {}, "cased": {"do_lower_case": False}, "accents": {"strip_accents": False},
                "stripped": {"do_lower_case": False, "strip_accents": True},
                "no Chinese": {"tokenize_chinese_chars": False},
                "null": {"strip_accents": None},
                "all": {"do_lower_case": False, "strip_accents": True,
                        "tokenize_chinese_chars": False}}
    yield from folders("bert", stored, settings, "BertTokenizer", special)
    for name in ("cased", "cased_stripped", "unclean", "accents", "not_normalized"):
        yield f"stored {name}", {"config.json": {"model_type": "distilbert"},
                                 "tokenizer.json": read(name),
                                 "tokenizer_config.json": {"tokenizer_class": "DistilBertTokenizer",
                                                           "do_lower_case": True}}
    vocab = sorted(stored["model"]["vocab"], key=stored["model"]["vocab"].get)
    for name, setting in settings.items():
        yield f"vocab.txt, {name}", {"config.json": {"model_type": "bert"},
                                     "vocab.txt": "\n".join(vocab) + "\n",
                                     "tokenizer_config.json": setting}
    yield "vocab.txt, added", {"config.json": {"model_type": "bert"}, "vocab.txt": "\n".join(vocab)
                               + "\n",
                               "added_tokens.json": {"newtok": len(vocab)},
                               "tokenizer_config.json": {}}


def roberta_folders():
    stored = read("roberta")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
               "pad_token": "<pad>",
               "cls_token": "<s>", "mask_token": "<mask>"}
    settings = {"plain": {}, "prefix": {"add_prefix_space": True},
                "no prefix": {"add_prefix_space": False},
                "trim": {"trim_offsets": False},
                "both": {"add_prefix_space": True, "trim_offsets": True}}
    yield from folders("roberta", stored, settings, "RobertaTokenizer", special)
    for name in ("prefixed", "roberta_added"):
        for prefix in (True, False):
            yield f"stored {name} {prefix}", {"config.json": {"model_type": "roberta"},
                                              "tokenizer.json": read(name),
                                              "tokenizer_config.json": {
                                                  "tokenizer_class": "RobertaTokenizer",
                                                  "add_prefix_space": prefix}}
    merges = "#version: 0.2\n" + "".join(f"{m if isinstance(m, str) else ' '.join(m)}\n"
                                         for m in stored["model"]["merges"])
    for name, setting in settings.items():
        yield f"vocab.json, {name}", {"config.json": {"model_type": "roberta"},
                                      "vocab.json": stored["model"]["vocab"],
                                      "merges.txt": merges,
                                      "tokenizer_config.json": {**special, **setting}}
    flags = {str(t["id"]): {k: v for k, v in t.items() if k != "id"}
             | {"lstrip": t["content"] == "<mask>"} for t in stored["added_tokens"]}
    yield "vocab.json, decoder", {"config.json": {"model_type": "roberta"},
                                  "vocab.json": stored["model"]["vocab"],
                                  "merges.txt": merges,
                                  "tokenizer_config.json": {**special,
                                                            "added_tokens_decoder": flags}}


def write(folder, files):
    os.makedirs(folder)
    for name, value in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def check(library, name, folder, texts):
    """What differs, at most three lines."""
    ours = compare.Tokenizer(library, folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    limit = theirs.model_max_length if theirs.model_max_length < 1 << 24 else 0
    found = ours.max_length()
    differences = []
    if found != limit:
        differences.append(f"{name}: model_max_length: expected {limit}, found {found}")
    for text, pair in texts:
        expected = theirs(text, pair)["input_ids"]
        ids = ours(text.encode(), None if pair is None else pair.encode(), 0)[0]
        if ids != expected:
            differences.append(f"{name}: {text!r} {pair!r}: expected {expected}, found {ids}")
    return differences[:3]


def main():
    library, count = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300
    if not transformers.__version__.startswith("5."):
        raise SystemExit(f"expected transformers 5, found {transformers.__version__}")
    transformers.utils.logging.set_verbosity_error()
    # An empty pair is none for transformers.
    random = [(t.decode("utf-8", "replace"), p.decode("utf-8", "replace") if p else None)
              for t, p, _ in cases.random_cases("transformers", count)]
    texts = [(t, None) for t in TEXTS] + [(t, TEXTS[i - 1]) for i, t in enumerate(TEXTS)] + random
    folders_tried, failures = 0, []
    with tempfile.TemporaryDirectory() as work:
        for kind, made in (("BERT", bert_folders()), ("RoBERTa", roberta_folders())):
            for i, (name, files) in enumerate(made):
                folder = os.path.join(work, f"{kind}{i}")
                write(folder, files)
                failures += check(library, f"{kind}, {name}", folder, texts)
                folders_tried += 1
    print("\n".join(failures) or f"{folders_tried} folders, {len(texts)} texts each, no difference")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
