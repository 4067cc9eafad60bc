"""Checks the structure of a report: check.py FILE [TEXT...]

The document must be well-formed, contain only known elements and attributes, run only the script
whose hash its policy has, and refer to nothing outside. Each TEXT must be shown as text. Prints
what the page has, one number per line.
"""

import base64
import collections
import hashlib
import html.parser
import re
import sys

VOID = {"meta", "link"}
ELEMENTS = VOID | set(
    "html head title style body a header p h1 h2 h3 bdi small dl div dt dd nav main section figure"
    " figcaption table thead tbody tr th td span i button ul li details summary pre footer script"
    " svg line circle path rect text".split())
ATTRIBUTES = set(
    "charset name content http-equiv rel href lang class id aria-label aria-hidden role tabindex"
    " scope title viewbox x y x1 x2 y1 y2 cx cy r d width height preserveaspectratio"
    " open".split())


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.classes: collections.Counter[str] = collections.Counter()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.text: list[str] = []
        self.script = self.policy = ""
        self.row: list[int] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        assert tag in ELEMENTS, f"unexpected element {tag}"
        assert len(found) == len(attributes), f"an attribute repeats in {tag}"
        assert set(found) <= ATTRIBUTES, f"unexpected attributes of {tag}: {sorted(found)}"
        href = found.get("href") or "#"
        assert href.startswith("#") or href == "data:,", f"refers to {href}"
        if tag == "a":
            self.links.append(href[1:])
        if "id" in found:
            assert found["id"] not in self.ids, f"id {found['id']} repeats"
            self.ids.add(str(found["id"]))
        if found.get("http-equiv"):
            self.policy = str(found["content"])
        for name in (found.get("title"), found.get("aria-label")):
            self.text.append(name or "")
        for one in (found.get("class") or "").split():
            self.classes[f"{tag}.{one}"] += 1
        if tag == "tr":
            self.row.append(0)
        if tag in ("td", "th"):
            self.row[-1] += 1
        self.counts[tag] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()
        if tag == "table":
            assert len(set(self.row)) == 1, f"rows of a table have {sorted(set(self.row))} cells"
            self.row = []

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.script += data
        elif self.open[-1:] != ["style"]:
            self.text.append(data)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        source = file.read()
    assert source.startswith("<!DOCTYPE html>\n")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", source), "control characters"
    page = Page()
    page.feed(source)
    page.close()
    assert not page.open, f"not closed: {page.open}"
    assert set(page.links) <= page.ids, f"dead links: {set(page.links) - page.ids}"
    assert "default-src 'none'" in page.policy
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert not page.script or f"'sha256-{digest}'" in page.policy, f"the script has {digest}"
    assert not re.search(r"url\(|@import|https?:", source), "refers to something outside"
    text = "".join(page.text)
    for wanted in sys.argv[2:]:
        assert wanted in text, f"not shown: {wanted}"
    print("sections", page.counts["section"])
    print("points", page.classes["circle.point"] + page.classes["circle.stopped"])
    print("best", page.classes["circle.top"])
    print("maps", page.classes["figure.map"])
    print("scripts", page.counts["script"])


main()
