"""Texts and tokenizers to compare with: what make_tokenizers.py and tests/tokenizer/compare.py
share."""
import copy
import json
import os
import random

import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

VERSION = "0.23.3"

# ---- texts
# --------------------------------------------------------------------------------------------------

# Where characters come from (first, last), and how often.
ALPHABETS = [((0x61, 0x7A), 30), ((0x20, 0x20), 12), ((0x41, 0x5A), 5), ((0x21, 0x7E), 5),
             ((0x00, 0x20), 2), ((0x7F, 0xFF), 4),
             ((0x100, 0x24F), 3), ((0x300, 0x36F), 4), ((0x370, 0x52F), 3), ((0x590, 0x6FF), 3),
             ((0x900, 0xDFF), 3),
             ((0xE00, 0x11FF), 2), ((0x1AB0, 0x1AFF), 1), ((0x1B00, 0x1CFF), 2),
             ((0x1D00, 0x20FF), 2), ((0x3000, 0x30FF), 2),
             ((0x302A, 0x302F), 2), ((0x4E00, 0x9FFF), 2), ((0xA930, 0xA9FF), 1),
             ((0xAC00, 0xD7A3), 2), ((0xE000, 0xFFFD), 1),
             ((0x10000, 0x1FFFF), 2), ((0x16FF0, 0x16FF1), 1), ((0x1D150, 0x1D190), 2),
             ((0x1F300, 0x1FAFF), 2),
             ((0x20000, 0x10FFFF), 1)]
RANGES = [a for a, _ in ALPHABETS]
WEIGHTS = [w for _, w in ALPHABETS]
PIECES = ["'s", "'re", "'LL", "[SEP]", "[MASK]", "[sep]", "<mask>", " <mask> ", "</s>", "<s>",
          "##s", "\u200d", "\u00a0", "\r\n",
          "  ", "unaffable", "Left", " left ", "right\t", "whole", "wholes", "Éclair", "éclair",
          "ECLAIR", "entailment", " the"]
BROKEN = [b"\x80", b"\xc0", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f", b"\xf0\x9f\x98",
          b"\xf4\x90\x80\x80", b"\xff"]


def random_text(rng, most):
    """Mixed scripts, combining marks, emoji, control characters, and what tokenizers treat
    specially."""
    parts = []
    for first, last in rng.choices(RANGES, WEIGHTS, k=rng.randrange(most)):
        parts.append(chr(rng.randint(first, last)))
        if rng.random() < 0.06:
            parts.append(rng.choice(PIECES))
    return "".join(parts)


def random_bytes(rng, most):
    """The same in UTF-8, some of it broken."""
    data = random_text(rng, most).encode("utf-8", "ignore")
    for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
        at = rng.randint(0, len(data))
        data = data[:at] + rng.choice(BROKEN) + data[at + rng.randrange(2):]
    return data


def random_cases(seed, count):
    """(text, pair or None, length to cut to or 0)"""
    rng = random.Random(seed)
    yield b"", None, 0
    yield b"", b"", 0
    for i in range(count - 2):
        text = random_bytes(rng, 120 if i % 10 == 0 else 30)
        pair = random_bytes(rng, 40) if rng.random() < 0.5 else None
        yield text, pair, rng.choice((0, 0, 0, 4, 5, 8, 16, 33))


# ---- tokenizers
# --------------------------------------------------------------------------------------------------


def training_text(lines):
    """Lines, and other scripts, so that tokens of several bytes are made of them."""
    rng = random.Random(5)
    alphabets = [(0x400, 0x44F), (0x4E00, 0x4E40), (0x627, 0x64A), (0xAC00, 0xAC40),
                 (0x1F600, 0x1F620), (0xE0, 0xFF), (0x30, 0x39)]
    for _ in range(len(lines) // 8):
        first, last = rng.choice(alphabets)
        yield " ".join("".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 5)))
                       for _ in range(6))
    yield from lines


def bert(lines, size):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special,
                                        show_progress=False)
    tokenizer.train_from_iterator(training_text(lines), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return json.loads(tokenizer.to_str())


def roberta(lines, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(training_text(lines), trainers.BpeTrainer(
        vocab_size=size, special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    return json.loads(tokenizer.to_str())


def changed(base, changes):
    """A tokenizer.json with other members: {"block.member": value}, or {"block": value}."""
    made = copy.deepcopy(base)
    for name, value in changes.items():
        block, _, member = name.partition(".")
        if member:
            made[block][member] = value
        else:
            made[block] = value
    return made


def added(base, *tokens):
    """With more added tokens: (content, flags)."""
    made = copy.deepcopy(base)
    size = len(made["model"]["vocab"])
    for content, flags in tokens:
        id_ = made["model"]["vocab"].get(content)
        if id_ is None:
            id_ = max([size - 1] + [t["id"] for t in made["added_tokens"]]) + 1
        token = dict(id=id_, content=content, single_word=False, lstrip=False, rstrip=False,
                     normalized=False, special=False)
        made["added_tokens"].append({**token, **{flag: True for flag in flags}})
    return made


def bert_variants(base):
    """Names and tokenizer.json of what is made of a BERT tokenizer."""
    first = next(t for t in base["model"]["vocab"] if t.isalpha() and len(t) > 3)
    bert_processing = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    return {
        "uncased": base,
        "cased": changed(base, {"normalizer.lowercase": False}),
        "accents": changed(base, {"normalizer.strip_accents": False}),
        "cased_stripped": changed(base,
                                  {"normalizer.lowercase": False, "normalizer.strip_accents": True,
                                         "normalizer.handle_chinese_chars": False}),
        "unclean": changed(base,
                           {"normalizer.clean_text": False, "model.max_input_chars_per_word": 7}),
        "not_normalized": changed(base, {"normalizer": None, "post_processor": bert_processing}),
        "bert_added": added(base, ("left", ["lstrip", "normalized"]), ("right", ["rstrip"]),
                            ("whole", ["single_word"]),
                            ("Éclair", ["normalized"]), ("ECLAIR", ["special"]),
                            ("[sep]", ["lstrip", "rstrip"]), ("lef", []),
                            ("é", ["single_word", "lstrip"]),
                            (first, ["single_word", "normalized"]), ("wholes", ["normalized"])),
    }


def roberta_variants(base):
    vocab = base["model"]["vocab"]
    letters = sorted(t for t in vocab if len(t) == 1)
    pruned = {t: i for t, i in vocab.items() if t not in letters[::7]}
    merges = [m for m in base["model"]["merges"] if m[0] in pruned and m[1] in pruned
              and "".join(m) in pruned]
    mask = changed(base,
                   {"added_tokens": [{**t, "lstrip": t["content"] == "<mask>"}
                                     for t in base["added_tokens"]],
                          "pre_tokenizer.add_prefix_space": True,
                    "model.merges": [" ".join(m) for m in base["model"]["merges"]]})
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    without = {"model.vocab": pruned, "model.merges": merges}
    return {
        "roberta": base,
        "prefixed": mask,
        "unknown": changed(base, {**without, "model.unk_token": "<unk>"}),
        "fused": changed(base, {**without, "model.unk_token": "<unk>", "model.fuse_unk": True,
                                "post_processor": None}),
        "dropped": changed(base, {**without, "pre_tokenizer.use_regex": False,
                                  "post_processor": byte_level}),
        "whole_words": changed(base,
                               {"model.ignore_merges": True,
                                "model.merges": base["model"]["merges"][::3]}),
        "roberta_added": added(mask, ("left", ["lstrip", "normalized"]), ("right", ["rstrip"]),
                               ("whole", ["single_word"]),
                               ("Éclair", ["normalized"]), (" the", []), ("ECLAIR", ["special"]),
                               ("\u00a0", [])),
    }


def save(made, folder):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(made, file, ensure_ascii=False, separators=(",", ":"))


def load(folder):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def check_version():
    if tokenizers.__version__ != VERSION:
        raise SystemExit(f"expected tokenizers {VERSION}, found {tokenizers.__version__}")


def expected(tokenizer, text, pair, length):
    """Ids and types, as the package finds them."""
    if length:
        tokenizer.enable_truncation(length)
    else:
        tokenizer.no_truncation()
    encoding = tokenizer.encode(*(t.decode("utf-8", "replace") for t in (text, pair)
                                  if t is not None))
    return encoding.ids, encoding.type_ids
