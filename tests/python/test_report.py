"""report(): the page of the command, from Python."""

import pathlib

import mergecraft
import pytest
from conftest import EXAMPLES
from mergecraft import ExistsError, FormatError, NotFoundError, UsageError

MODELS = [str(EXAMPLES / f"rte-{i}") for i in (1, 2, 3)]
BASE = str(EXAMPLES / "base")
DATA = str(EXAMPLES / "data")

pytestmark = pytest.mark.filterwarnings("ignore::mergecraft.MergeWarning")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a search: its journal and the best merge."""
    folder = tmp_path_factory.mktemp("searched")
    mergecraft.search(
        "task", MODELS, {"scale": (0.1, 2.0)}, base_model=BASE, eval="rte", data=DATA, limit=20,
        trials=2, passthrough="classifier.*", journal=folder / "journal.jsonl",
        out=folder / "best", verbose=False,
    )  # fmt: skip
    return folder


def test_the_page_of_a_merge_and_its_search(searched, tmp_path):
    page = tmp_path / "page.html"
    found = mergecraft.report(searched / "best", page, journal=searched / "journal.jsonl")
    assert found == str(page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "<svg" in text and "scale" in text and "rte-2" in text
    # Without the models there are no heat maps.
    mergecraft.report(searched / "best", page, compare=False, overwrite=True)
    assert len(page.read_text(encoding="utf-8")) < len(text)
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_the_page_of_a_search(searched, tmp_path):
    page = mergecraft.report(searched / "journal.jsonl", tmp_path / "page.html")
    assert "rte" in pathlib.Path(page).read_text(encoding="utf-8")


def test_models_that_are_gone_are_a_note_on_the_page(searched, tmp_path):
    journal = (searched / "journal.jsonl").read_text().replace(MODELS[1], "/gone/<b>")
    (tmp_path / "journal.jsonl").write_text(journal)
    page = mergecraft.report(tmp_path / "journal.jsonl", tmp_path / "page.html")
    text = pathlib.Path(page).read_text(encoding="utf-8")
    assert "/gone/&lt;b&gt;" in text and "/gone/<b>" not in text


def test_what_is_not_a_merge_is_an_error(searched, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(ExistsError, match="overwrite=True"):
        mergecraft.report(searched / "best", page)
    assert page.read_text() == "mine"
    with pytest.raises(NotFoundError):
        mergecraft.report(tmp_path, tmp_path / "new.html")
    with pytest.raises(FormatError):
        mergecraft.report(page, tmp_path / "new.html")
    with pytest.raises(UsageError, match="expected the folder"):
        mergecraft.report(page, tmp_path / "new.html", journal=page)
    with pytest.raises(OSError, match="no/such"):
        mergecraft.report(searched / "best", tmp_path / "no/such/page.html", compare=False)
