"""The WordPiece vocabulary of the demo models and its tokenizer."""

from __future__ import annotations

from pathlib import Path

from transformers import BertTokenizerFast

import grammar

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MARKS = (".", ",", "'", "-", "?", "!")
ENDINGS = ("s", "d", "ed", "a", "y", "ing", "er", "son", "nett", "bel")
MAX_LENGTH = 80


def vocabulary() -> list[str]:
    """List special tokens, marks, letters, pieces and the words that stay whole."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [f"##{piece}" for piece in (*letters, *ENDINGS)]
    known = set(grammar.words())
    whole = sorted(word for word in known if not _splits(word, known))
    return list(dict.fromkeys((*SPECIAL, *MARKS, *letters, *pieces, *whole)))


def _splits(word: str, known: set[str]) -> bool:
    """Say whether a word is to be written as another word and an ending."""
    return any(word.endswith(end) and word[: -len(end)] in known for end in ENDINGS)


def make_tokenizer(folder: Path) -> BertTokenizerFast:
    """Write vocab.txt into a folder and make the tokenizer that reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = write_vocabulary(folder)
    return BertTokenizerFast(
        vocab=str(path), do_lower_case=True, model_max_length=MAX_LENGTH
    )


def write_vocabulary(folder: Path) -> Path:
    """Write vocab.txt, which transformers 5 reads but no longer writes."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8", newline="\n")
    return path
