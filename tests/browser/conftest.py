"""A browser, a site to visit, and what must not happen on any page of it."""

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.leaderboard import build
from benchmarks.records import integrity, runtime_latencies, store
from benchmarks.report.plots import gallery
from tests.fake_records import fake, publish, run_again, study, timed_elsewhere

sync = pytest.importorskip("playwright.sync_api", reason="pip install supernet-bench[browser]")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVIL = "<script>alert(1)</script>"
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 6"><rect width="10" height="6"/></svg>'


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync.sync_playwright() as played:
        opened = played.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def slow_one():
    """A record whose networks are all slower than they were asked to be."""
    record = fake("hat", tier="over")
    for candidate in record["candidates"]:
        for key in ("p50", "p90", "ratio", "ratio_low", "ratio_high"):
            candidate["latency"][key] *= 1.3
    return integrity.seal(record)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The site of three tasks and profiles, with a hostile message and a method of that name."""
    root = tmp_path_factory.mktemp("results")
    found = [
        *study(seeds=3), fake("hat", 7, status="failed", message=f"{EVIL}</script>"),
        *study(("hat", "mos-neuron"), 1, profile="nvidia-h200.v1"), *study(("hat",), 2, task="mt-other"),
        *(fake(f"many-{i:02d}", tier="crowd") for i in range(30)), slow_one(),
    ]  # fmt: skip
    for record in found:
        store.write(root / "records", record)
    publish(root, run_again(found[0]))
    publish(root, run_again(found[1], quality=-9.0, fingerprint=EVIL))
    again = {r["spec"]["method"]: r for r in found if r["spec"]["seed"] == 2}
    publish(root, run_again(again["scratch"], "2026-03-04", fingerprint="x"))
    publish(root, run_again(again["scratch"], "2026-04-05", profile="undeclared", fingerprint="y"))
    (other, _) = (r for r in found if r["spec"]["task"] == "mt-other")
    runtime_latencies.LATENCIES.write(root, timed_elsewhere(other, ms=1234.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "images", lambda *_: {"performance.svg": PICTURE})
        build.build(root)
    return root / "site"


class Visit:
    """One page, and what must not happen on it."""

    def __init__(self, context):
        self.page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: Path, fragment=""):
        self.page.goto(path.as_uri() + fragment)
        return self.page


@pytest.fixture
def visit(browser, request):
    context = browser.new_context(**getattr(request, "param", {"viewport": {"width": 1280, "height": 900}}))
    context.set_default_timeout(30_000)
    visit = Visit(context)
    yield visit
    shots = os.environ.get("SCREENSHOTS")
    if shots:
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        visit.page.screenshot(path=f"{shots}/{name}.png", full_page=True)
    context.close()
    assert visit.said == [], "errors on the console"
    assert [url for url in visit.asked if not url.startswith(("file:", "data:"))] == [], "asked the network"
