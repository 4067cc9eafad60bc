"""Makes pairs of small models whose tokenizers differ, for vocabularies.py."""

import json
import pathlib
import random

import torch
from safetensors.torch import save_file
from tokenizers import (
    AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers,
)

TEXTS = [
    "the model merges weights of several models into one model and it is better than each",
    "once upon a time there was a tensor that wanted to be merged with another tensor",
    "def merge(a, b): return a + b", "explain what a layer of the model is", "naïve Ünïted",
    "one two three four five six seven", "numbers 123 456 and punctuation, like this; (or) that!",
]
HIDDEN = 16
KINDS = ("byte_level", "byte_fallback", "wordpiece", "unigram", "wordlevel")
CHANGES = ("added", "removed", "moved", "normalized", "specials", "padded")


def train(kind, size):
    """A tokenizer of a kind, with the special tokens <s>, </s> and <unk>."""
    specials = ["<s>", "</s>", "<unk>"]
    if kind == "byte_level":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size + 250, special_tokens=specials,
                                      initial_alphabet=alphabet, show_progress=False)
    elif kind == "byte_fallback":
        made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        specials += [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=size + 290, special_tokens=specials,
                                      show_progress=False)
    elif kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=size + 60, special_tokens=specials,
                                            show_progress=False)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=size + 20, special_tokens=specials,
                                          unk_token="<unk>", show_progress=False)
    else:
        made = Tokenizer(models.WordLevel(unk_token="<unk>"))
        made.normalizer = normalizers.NFC()
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=specials,
                                            show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    return made


def move(text, rng):
    """Exchanges the ids of ordinary tokens; those of Unigram are places in a list."""
    document = json.loads(text)
    vocab = document["model"]["vocab"]
    added = {token["content"] for token in document["added_tokens"]}
    if isinstance(vocab, list):
        ordinary = [i for i, (token, _) in enumerate(vocab) if token not in added]
        shuffled = ordinary[:]
        rng.shuffle(shuffled)
        copy = list(vocab)
        for to, frm in zip(ordinary, shuffled):
            vocab[to] = copy[frm]
    else:
        ordinary = [token for token in vocab if token not in added]
        ids = [vocab[token] for token in ordinary]
        rng.shuffle(ids)
        vocab.update(zip(ordinary, ids))
        document["model"]["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
    return json.dumps(document, ensure_ascii=False, indent=2)


def change(made, changes, rng):
    if "added" in changes:
        made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
        made.add_tokens(["merged", AddedToken("<tool>", lstrip=True, normalized=False)])
    if "normalized" in changes:
        # Texts that a normalizer makes one of, and a token that the vocabulary may have, too.
        made.add_tokens(["CAFÉ", "café", "cafe\u0301", "model"])
    if "specials" in changes:
        made.add_special_tokens(["<|begin|>", "<|end|>"])
    text = made.to_str(pretty=True)
    return move(text, rng) if "moved" in changes else text


def write_model(folder, text, tokens, rows, tied, dtype, rng, base=None):
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **tokens,
              "model_max_length": 128, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": rows, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu",
        "tie_word_embeddings": tied, "torch_dtype": str(dtype).split(".")[1]}, indent=2))
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    block = "model.layers.0."
    shapes = {"model.embed_tokens.weight": (rows, HIDDEN), "model.norm.weight": (HIDDEN,),
              block + "input_layernorm.weight": (HIDDEN,),
              block + "post_attention_layernorm.weight": (HIDDEN,),
              block + "mlp.gate_proj.weight": (24, HIDDEN),
              block + "mlp.up_proj.weight": (24, HIDDEN),
              block + "mlp.down_proj.weight": (HIDDEN, 24)}
    for name in "qkvo":
        shapes[f"{block}self_attn.{name}_proj.weight"] = (HIDDEN, HIDDEN)
    if not tied:
        shapes["lm_head.weight"] = (rows, HIDDEN)
    tensors = {name: torch.randn(shape, generator=generator).to(dtype)
               for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def make_case(folder, number):
    """Writes the models first, second and base; returns the recipe without merge_method."""
    rng = random.Random(number)
    folder = pathlib.Path(folder)
    kind = KINDS[number % len(KINDS)]
    changes = {CHANGES[number % len(CHANGES)], CHANGES[rng.randrange(len(CHANGES))]}
    tied = number % 4 == 3
    dtype = (torch.float32, torch.bfloat16, torch.float16)[number % 3]
    size = 60
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    other = {**names, "bos_token": "<|begin|>"} if "specials" in changes else names
    # A text that an added token would be is in the vocabulary of the other model.
    for name, tokens, smaller, applied in (
        ("base", names, 0, set()),
        ("first", names, 0, {"added"} if number % 5 == 4 else set()),
        ("second", other, 15 if "removed" in changes else 0, changes),
    ):
        made = train(kind, size - smaller)
        text = change(made, applied, rng)
        count = Tokenizer.from_str(text).get_vocab_size(with_added_tokens=True)
        rows = count + (13 if "padded" in applied else 0)
        write_model(folder / name, text, tokens, rows, tied, dtype, rng)
    return choose(rng, number, dtype, folder)


def choose(rng, number, dtype, folder):
    """A recipe. Models have unique paths: mergekit keeps those of a process open by their names."""
    first, second, base = (str(folder / name) for name in ("first", "second", "base"))
    source = ("union", "union", "base", second)[number % 4]
    tokenizer = {"source": source}
    if number % 3 == 0:
        tokenizer["pad_to_multiple_of"] = 64
    if source != "base" and number % 2 == 0:
        tokenizer["tokens"] = {
            "<new>": {"source": {"kind": "zero"}}, "<s>": {"source": first},
            "</s>": {"source": {"kind": "model_token", "model": second, "token_id": 2},
                     "force": number % 4 == 0}}
    weights = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))[rng.randrange(3)]
    recipe = {"models": [{"model": name, "parameters": {"weight": weight}}
                         for name, weight in zip((first, second), weights)],
              "tokenizer": tokenizer, "dtype": str(dtype).split(".")[1],
              "merge_method": "linear"}
    if number % 2 == 0:
        # mergekit rounds after every operation: in float32 that is as good as once.
        recipe.update(merge_method="task_arithmetic", base_model=base, dtype="float32")
    return recipe


def twice(document):
    document["added_tokens"].append(dict(document["added_tokens"][-1]))


def one_more(document):
    """An added token of Unigram, whose vocabulary is a list in the order of ids."""
    added = document["added_tokens"]
    last = max([len(document["model"]["vocab"]) - 1] + [token["id"] for token in added])
    added.append({**added[-1], "content": "<q>", "id": last + 1})


# name: (kind, tokenizer of the recipe, and for base, first and second what is odd about them:
# changes, rows more than tokens, tied, an edit of tokenizer.json)
UNION = {"source": "union"}
ADDED = ({"added"}, 0, False, None)
PLAIN = (set(), 0, False, None)
ODD = {
    "a base that lists an added token twice": (
        "byte_level", UNION, (set(), 0, False, twice), ADDED, PLAIN),
    "a model that lists an added token twice": (
        "byte_level", UNION, PLAIN, ({"added"}, 0, False, twice), PLAIN),
    "tied and untied": (
        "byte_level", UNION, PLAIN, ({"added"}, 0, True, None), ({"moved"}, 0, False, None)),
    "padded rows, bytes": (
        "byte_fallback", {**UNION, "pad_to_multiple_of": 7}, (set(), 9, False, None),
        ({"added"}, 3, False, None), ({"specials"}, 0, False, None)),
    "forced tokens, a padding row": (
        "byte_level", {**UNION, "tokens": {
            "<s>": {"source": {"kind": "model_token", "model": "first", "token_id": 361},
                    "force": True},
            "</s>": {"source": "second", "force": True},
            "<tool>": {"source": {"kind": "zero"}, "force": True},
            "<z>": {"source": {"kind": "model_token", "model": "first", "token": "merged"}}}},
        PLAIN, ({"added"}, 60, False, None), PLAIN),
    "Unigram": (
        "unigram", {**UNION, "tokens": {"<q>": {"source": "first", "force": False}}}, PLAIN,
        ({"added", "moved"}, 0, False, one_more), PLAIN),
    "WordPiece with other special tokens": (
        "wordpiece", UNION, PLAIN, ({"added", "normalized"}, 0, False, None),
        ({"specials", "moved"}, 0, False, None)),
    "the base's tokenizer": (
        "byte_level", "base", ({"specials"}, 0, False, None), ADDED, ({"moved"}, 0, False, None)),
    "no source is a union": ("byte_level", {}, PLAIN, ADDED, PLAIN),
    "ids beyond the rows": ("byte_level", UNION, PLAIN, ({"added"}, -2, False, None), PLAIN),
}


def make_odd(folder, name):
    """Writes the models of an odd case; returns its recipe."""
    kind, tokenizer, *models = ODD[name]
    paths = {}
    for seed, (model, (changes, more, tied, edit)) in enumerate(
            zip(("base", "first", "second"), models)):
        rng = random.Random(seed)
        text = change(train(kind, 60), changes, rng)
        if edit:
            document = json.loads(text)
            edit(document)
            text = json.dumps(document, ensure_ascii=False)
        rows = Tokenizer.from_str(text).get_vocab_size(with_added_tokens=True) + more
        names = {"bos_token": "<|begin|>" if "specials" in changes else "<s>",
                 "eos_token": "</s>", "unk_token": "<unk>"}
        paths[model] = str(folder / model)
        write_model(folder / model, text, names, rows, tied, torch.float32, rng)

    def placed(value):
        if isinstance(value, dict):
            return {key: placed(item) for key, item in value.items()}
        return paths.get(value, value) if value != "base" else value

    return {"models": [{"model": paths[model], "parameters": {"weight": 0.5}}
                       for model in ("first", "second")],
            "merge_method": "task_arithmetic", "base_model": paths["base"], "dtype": "float32",
            "tokenizer_source" if tokenizer == "base" else "tokenizer": placed(tokenizer)}


def texts(count, seed):
    """Texts of words, tokens that were added, accents, other scripts, and emoji."""
    rng = random.Random(seed)
    words = " ".join(TEXTS).split() + [
        "<|im_start|>", "<|im_end|>", "<tool>", " <tool> ", "merged", "<|begin|>", "<|end|>", "<s>",
        "</s>", "<new>", "日本語", "🙂", "naïve", "\n", "\t", "<0x41>", "model", "models", "x" * 20,
        "##ed", "▁the"]
    # With a normalizer that makes one text of these tokens, any of them may be found.
    if KINDS[seed % len(KINDS)] != "wordpiece":
        words += ["CAFÉ", "café", "cafe\u0301"]
    return [rng.choice(("", " ")).join(rng.choices(words, k=rng.randrange(1, 12)))
            for _ in range(count)]
