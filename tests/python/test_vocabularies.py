"""Models with different vocabularies, merged token by token."""

import json
import struct

import mergecraft
import numpy
import pytest


def write_model(folder, tokens, rows):
    """A model with an embedding of one column, and a tokenizer of whole words."""
    folder.mkdir()
    values = numpy.array(rows, dtype="<f4")
    header = {"embed_tokens.weight": {"dtype": "F32", "shape": [len(rows), 1],
                                      "data_offsets": [0, values.nbytes]}}
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + values.tobytes()
    (folder / "model.safetensors").write_bytes(data)
    (folder / "config.json").write_text(json.dumps({"model_type": "x", "vocab_size": len(rows)}))
    vocab = {token: i for i, token in enumerate(tokens)}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": tokens[0]}
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": model}))
    return str(folder)


@pytest.fixture
def pair(tmp_path):
    return [
        write_model(tmp_path / "one", ["a", "b", "c"], [1, 2, 3]),
        write_model(tmp_path / "two", ["b", "d", "a"], [20, 40, 10]),
    ]


def rows_of(folder):
    data = (folder / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return numpy.frombuffer(data[8 + size :], dtype="<f4").tolist()


def test_a_union(pair, tmp_path):
    out = tmp_path / "out"
    with pytest.warns(mergecraft.MergeWarning) as given:
        mergecraft.soup(
            pair, out=out, tokenizer="union", tokens=["new=zero", f"c={pair[1]}:d"], pad_vocab=4
        )
    text = " ".join(str(each.message) for each in given)
    assert "added to those of" in text and "1 token is not in every model" in text
    tokenizer = json.loads((out / "tokenizer.json").read_text())
    assert tokenizer["model"]["vocab"] == {"b": 0, "d": 1, "a": 2}
    assert [token["content"] for token in tokenizer["added_tokens"]] == ["c", "new"]
    b, d, a, c, new = 11, 40, 5.5, (3 + 40) / 2, 0
    rows = [b, d, a, c, new]
    assert rows_of(out)[:5] == rows
    assert rows_of(out)[5:] == pytest.approx([sum(rows) / 5] * 3)
    assert json.loads((out / "config.json").read_text())["vocab_size"] == 8


def test_differing_vocabularies_without_a_tokenizer(pair, tmp_path):
    with pytest.raises(mergecraft.MismatchError, match="'b' is 0 in .*tokenizer='union'"):
        mergecraft.soup(pair, out=tmp_path / "out")
    with pytest.raises(mergecraft.UsageError, match="expected out='FOLDER'"):
        mergecraft.soup(pair, tokenizer="union")
    with pytest.raises(mergecraft.MismatchError, match="no model has it"):
        mergecraft.soup(pair, out=tmp_path / "out", tokenizer="union", tokens=["new"])


def test_transplant(tmp_path):
    model = write_model(tmp_path / "model", ["a", "b", "c", "d"], [1, 2, 3, 6])
    donor = write_model(tmp_path / "donor", ["d", "x", "a"], [10, 20, 30])
    with pytest.warns(mergecraft.MergeWarning, match="2 rows copied, 1 approximated"):
        tensors = mergecraft.transplant(model, donor, method="mean")
    assert numpy.asarray(tensors["embed_tokens.weight"]).tolist() == [[6], [3], [1]]
    out = tmp_path / "out"
    with pytest.warns(mergecraft.MergeWarning):
        assert mergecraft.transplant(model, donor, neighbours=2, out=out) == str(out)
    assert (out / "tokenizer.json").read_text() == (tmp_path / "donor/tokenizer.json").read_text()
    with pytest.raises(mergecraft.UsageError, match="expected omp, common"):
        mergecraft.transplant(model, donor, method="magic")
