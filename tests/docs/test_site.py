"""The built pages: links and anchors lead somewhere, nothing is fetched, every page is in ``llms.txt``."""

import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.docs
TEN = ("index", "verdict", "method", "own", "rules", "scaling", "publish", "use", "methods", "reference")


class Page(HTMLParser):
    """Links, anchors and fetched files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in given:
            self.fetched.append(given["src"])
        if tag == "link" and "href" in given and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.fetched.append(given["href"])


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site() -> Path:
    folder = os.environ.get("SUPERNET_BENCH_DOCS_HTML", "")
    if not folder or not (Path(folder) / "index.html").is_file():
        pytest.skip(
            "no built pages: nox -s docs builds them and names their folder in SUPERNET_BENCH_DOCS_HTML"
        )
    return Path(folder).resolve()


def test_no_page_shows_an_error_of_the_theme_or_of_the_build(site: Path) -> None:
    """The theme draws a red box around some lists of contents; docutils puts its messages into the text."""
    marks = ("ERROR: Adding a table of contents", "system-message", "problematic")
    wrong = {
        f"{p.name}: {m}" for p in site.glob("*.html") for m in marks if m in p.read_text(encoding="utf-8")
    }
    contents = re.findall(r'<(?:nav|aside|div) class="(contents[^"]*)"', (site / "methods.html").read_text())
    allowed = "this-will-duplicate-information-and-it-is-still-useful-here"
    assert contents and all(allowed in names for names in contents)
    assert not wrong


def test_links_and_anchors(site: Path) -> None:
    wrong = []
    for path in sorted(site.rglob("*.html")):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append(f"{path.name}: {link}: no such file")
            elif target.suffix == ".html" and unquote(parts.fragment) not in page(target).anchors:
                wrong.append(f"{path.name}: {link}: no such anchor")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_fetched_from_a_network(site: Path) -> None:
    remote = {
        f"{path.name}: {address}"
        for path in site.rglob("*.html")
        for address in page(path).fetched
        if urlsplit(address).netloc
    }
    styles = "".join(path.read_text(errors="replace") for path in site.rglob("*.css"))
    assert not remote and not re.search(r"url\(['\"]?(https?:)?//", styles)


def test_the_ten_pages_are_there_and_full(site: Path) -> None:
    for name in TEN:
        words = re.sub(r"<[^>]+>", " ", (site / f"{name}.html").read_text()).split()
        assert len(words) > 150, name


def test_pages_show_the_output_of_their_commands(site: Path) -> None:
    verdict, method, use = ((site / f"{name}.html").read_text() for name in ("verdict", "method", "use"))
    assert "hat" in verdict and "reference" in verdict and 'class="cell_output' in verdict
    assert "exit code 1" in method and "FAILED" in method
    assert "step.onnx" in use and "hypervolume after 200 evaluations" in use
    assert "tokenizer_config.json" in use, "no line break inside a word"


def test_llms_txt_names_every_page(site: Path) -> None:
    text = (site / "llms.txt").read_text()
    named = re.findall(r"\]\((\S+)\)", text)
    assert all((site / name).is_file() for name in named)
    built = {str(path.relative_to(site / "sources")) for path in (site / "sources").rglob("*.md")}
    assert {name.removeprefix("sources/") for name in named} == built and len(built) >= len(TEN)
    assert all(line.rpartition("): ")[2] for line in text.splitlines() if line.startswith("- "))
