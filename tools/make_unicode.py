#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_tables.h: what the tokenizers package does with every code point.

    python3 -m venv .venv && .venv/bin/pip install tokenizers==0.23.3
    .venv/bin/python tools/make_unicode.py

Each property is found by asking the package about each code point, because its parts bring
Unicode tables of different ages.
"""
import os
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

VERSION = "0.23.3"
BLOCK = 64  # MC_UNICODE_BLOCK
FLAGS = ("DROPPED", "BLANK", "SPACE", "PUNCTUATION", "CHINESE", "LETTER", "NUMBER", "WORD",
         "NONSPACING", "STRIPPED", "LOWERED")
# Hangul syllables are decomposed by arithmetic.
HANGUL = range(0xAC00, 0xD7A4)


def bert(**chosen):
    options = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False,
                   lowercase=False)
    return normalizers.BertNormalizer(**{**options, **chosen}).normalize_str


def finder(**how):
    """A function that tells the tokens of a text in which the added token `xyz` is looked for."""
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "xyz": 1}, unk_token="[UNK]"))
    tokenizer.add_tokens([AddedToken("xyz", normalized=False, **how)])
    return lambda text: tokenizer.encode(text).ids


clean = bert(clean_text=True)
chinese = bert(handle_chinese_chars=True)
strip = bert(strip_accents=True)
lower = bert(lowercase=True)
decompose = normalizers.NFD().normalize_str
words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
runs = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
single_word = finder(single_word=True)
left_strip = finder(lstrip=True)

# A character of each combining class: whether it changes places with another tells where that one's
# class lies.
ANCHORS = {1: "\u0334"}
for code in range(sys.maxunicode + 1):
    kind = unicodedata.combining(chr(code))
    if kind and kind not in ANCHORS and decompose(chr(code) + ANCHORS[1]) == ANCHORS[1] + chr(code):
        ANCHORS[kind] = chr(code)
ANCHORS = dict(sorted(ANCHORS.items()))


def combining_class(c):
    highest, lowest = ANCHORS[max(ANCHORS)], ANCHORS[min(ANCHORS)]
    if decompose(highest + c) == highest + c and decompose(c + lowest) == c + lowest:
        return max(ANCHORS) if unicodedata.combining(c) == max(ANCHORS) else 0
    below = [k for k, anchor in ANCHORS.items() if decompose(c + anchor) != c + anchor]
    above = [k for k, anchor in ANCHORS.items() if decompose(anchor + c) != anchor + c]
    found = [k for k in ANCHORS if (not below or k > max(below)) and (not above or k < min(above))]
    assert len(found) == 1, (hex(ord(c)), below, above)
    return found[0]


def examine(code):
    """(flags, combining class, stripped, lowered) of a code point."""
    c = chr(code)
    flags = set()
    cleaned, spaced, stripped, decomposed, lowered = clean(c), chinese(c), strip(c), decompose(
        c), lower(c)
    assert cleaned in ("", " ", c) and spaced in (c, f" {c} ")
    if cleaned == "":
        flags.add("DROPPED")
    if cleaned == " ":
        flags.add("BLANK")
    if spaced != c:
        flags.add("CHINESE")
    if lowered != c:
        flags.add("LOWERED")
    kind = combining_class(c) if decomposed == c else 0
    if decomposed == c and stripped == "":
        flags.add("NONSPACING")
    elif stripped != c and code not in HANGUL:
        flags.add("STRIPPED")
    if decomposed != c:
        kind = combining_class(decomposed[0])
        # What the normaliser relies on: it need not know where in a decomposition marks of class 0
        # were removed.
        kinds = [(combining_class(d), strip(d) == "") for d in decomposed]
        assert not (any(k and not gone for k, gone in kinds) and (0, True) in kinds), hex(code)
        assert kind == 0 or stripped == "", hex(code)
        if stripped == "":
            flags.discard("STRIPPED")
            flags.add("NONSPACING")
    pieces = [piece for piece, _ in words(f"a{c}b")]
    assert pieces in (["a", "b"], ["a", c, "b"], [f"a{c}b"])
    if len(pieces) == 2:
        flags.add("SPACE")
    if len(pieces) == 3:
        flags.add("PUNCTUATION")
    letter, number, other = (len(runs(before + c)) == 1 for before in "a1!")
    assert letter + number + other <= 1
    assert (letter + number + other == 0) == (len(pieces) == 2), hex(code)
    if letter:
        flags.add("LETTER")
    if number:
        flags.add("NUMBER")
    if single_word(c + "xyz") != [0, 1]:
        flags.add("WORD")
    assert (left_strip(c + "xyz") == [1]) == (len(pieces) == 2), hex(code)
    return frozenset(flags), kind, stripped, lowered


def rows(numbers):
    """Lines of at most 100 columns."""
    line = "   "
    for number in numbers:
        if len(line) + len(str(number)) + 2 > 100:
            yield line
            line = "   "
        line += f" {number},"
    yield line


def array(kind, name, numbers, public=False):
    name = f"const {kind} mc_unicode_{name}" if public else f"static const {kind} {name}"
    return [f"{name}[] = {{", *rows(numbers), "};", ""]


def mapping(name, pairs):
    """Code points, sorted, and where the text of each begins in a list of code points."""
    codes = [code for code, _ in pairs]
    starts, texts = [], []
    for _, text in pairs:
        starts.append(len(texts))
        texts += [ord(c) for c in text]
    starts.append(len(texts))
    return [*array("uint32_t", f"{name}_codes", codes),
            *array("uint16_t", f"{name}_starts", starts),
            *array("uint32_t", f"{name}_texts", texts)]


def main():
    if tokenizers.__version__ != VERSION:
        sys.exit(f"expected tokenizers {VERSION}, found {tokenizers.__version__}")
    records, classes, stripped, lowered = {}, [], [], []
    growth = 0
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000:
            classes.append(records.setdefault((frozenset(), 0), len(records)))
            continue
        flags, kind, strip_to, lower_to = examine(code)
        classes.append(records.setdefault((flags, kind), len(records)))
        if "STRIPPED" in flags:
            stripped.append((code, strip_to))
        if "LOWERED" in flags:
            lowered.append((code, lower_to))
        size = len(chr(code).encode())
        final = len("".join(lower(c) for c in strip_to).encode())
        growth = max(growth, (final + 2 * ("CHINESE" in flags)) / size,
                     len(lower_to.encode()) / size)
    blocks, index = {}, []
    for start in range(0, len(classes), BLOCK):
        index.append(blocks.setdefault(tuple(classes[start:start + BLOCK]), len(blocks)))
    assert len(records) < 256 and len(blocks) < 65536 and growth <= 3
    out = [
        f"/* Written by tools/make_unicode.py from what tokenizers {VERSION} does: do not edit. */",
        "#ifndef MC_TOKENIZER_UNICODE_TABLES_H", "#define MC_TOKENIZER_UNICODE_TABLES_H", "",
        "#include <stdint.h>", "",
        "/* clang-format off */", "",
        "/* Flags (MC_… of unicode.h) and canonical combining class of each record. */",
        *array("uint16_t", "record_flags", (sum(1 << FLAGS.index(f) for f in flags) for flags,
                                            _ in records), True),
        *array("uint8_t", "record_classes", (kind for _, kind in records), True),
        "/* The block of code points >> 6, and the records of the blocks. */",
        *array("uint16_t", "block_of", index, True),
        *array("uint8_t", "record_of", (r for block in blocks for r in block), True),
        "/* What is left of a code point once it is decomposed and nonspacing marks are removed. "
        "*/",
        *mapping("stripped", stripped), "/* Lower case. */", *mapping("lowered", lowered), "#endif"]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, "src/tokenizer/unicode_tables.h"), "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
    print(f"{len(records)} records, {len(blocks)} blocks, {len(stripped)} stripped, {len(lowered)} "
          f"lowered, growth {growth:.2f}")


main()
