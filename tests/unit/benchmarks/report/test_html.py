"""The page: one file, every text escaped, usable without sight, script or network."""

import re
from html.parser import HTMLParser

import pytest

from benchmarks import report
from benchmarks.analysis import tables
from benchmarks.api import UsageError
from benchmarks.report import html
from tests.fake_records import fake, study
from tests.unit.benchmarks.analysis.test_tables import NASTY, hostile

VOID = {"meta", "img", "br", "link", "input"}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
IMAGES = {f"{name}.svg": SVG for name in html.FIGURES}


class Outline(HTMLParser):
    """Tags with their attributes, and whether every one was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, *names):
        return [attrs for tag, attrs in self.tags if tag in names]


def page(found, title="A title"):
    return html.page(found, tables.build(found), IMAGES, title)


@pytest.mark.parametrize("found", [study(seeds=1), [fake(status="failed")]], ids=["study", "only a failure"])
def test_the_page_is_well_formed_and_self_contained(found):
    text = page(found)
    outline = Outline(text)
    assert not outline.all("script", "link", "iframe", "object", "form")
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in outline.all("img"))
    assert all(link["href"].startswith("#") for link in outline.all("a"))
    assert not re.search(r"https?://|url\(|@import", text)


def test_the_page_can_be_used_without_sight():
    outline = Outline(page(study(seeds=1)))
    assert outline.all("html")[0]["lang"] == "en"
    assert len(outline.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(len(image["alt"]) > 40 for image in outline.all("img"))
    assert all(head.get("scope") in ("col", "row") for head in outline.all("th"))
    ids = [attrs["id"] for _, attrs in outline.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for _, attrs in outline.tags:
        for reference in (attrs.get("aria-labelledby"), (attrs.get("href") or "").removeprefix("#") or None):
            assert reference is None or reference in ids
    scrolling = [attrs for tag, attrs in outline.tags if attrs.get("class") == "scroll"]
    assert scrolling and all(attrs["tabindex"] == "0" and attrs["role"] == "region" for attrs in scrolling)


def test_every_text_is_escaped():
    found = hostile()
    text = page(found, NASTY)
    assert "<script" not in text and "\x1b" not in text and "\u202e" not in text
    assert "&lt;script&gt;" in text
    Outline(text)


def test_alternatives_tell_what_a_figure_shows():
    table = tables.build(study(seeds=1))
    told = html.alternative("pareto", table)
    assert "mos-neuron at limit 0.4 x ref" in told and "BLEU" in told and "ms" in told
    assert "best first: mos-neuron" in html.alternative("hypervolume", table)


def test_render_writes_everything_and_the_same_twice(tmp_path):
    found = study(("hat", "scratch"), 1, tier="smoke")
    paths = report.render(found, tmp_path / "a", "Title")
    names = {"table.md", "table.csv", "test_sets.csv", "table.json", "table.tex", "index.html"}
    names |= {f"{n}.{k}" for n in ("pareto", "hypervolume", "budget", "search") for k in ("png", "svg")}
    assert set(paths) == names == {p.name for p in (tmp_path / "a").iterdir()}
    report.render(found, tmp_path / "b", "Title")
    again = report.render(study(("hat",), 1, spent=False), tmp_path / "a", "No search was recorded")
    assert "search.svg" not in again and not (tmp_path / "a" / "search.svg").exists()
    report.render(found, tmp_path / "a", "Title")
    for name, path in paths.items():
        assert path.read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_render_refuses_what_cannot_be_compared_and_writes_nothing(tmp_path):
    for found in ([], [fake(), fake(profile="undeclared")]):
        with pytest.raises(UsageError):
            report.render(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()
