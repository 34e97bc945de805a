"""The leaderboard's site in headless Chromium, from ``file://``: mouse, keys, phone."""

from pathlib import Path

import pytest

from benchmarks.analysis.attachment_columns import Attached
from benchmarks.analysis.run_page import run_page
from benchmarks.analysis.table import build_from_runs
from benchmarks.comparability import grouping, run_summary
from benchmarks.leaderboard.site import pages, run_files
from tests.browser.pages import all_columns, column, every_row, figures, overview, small, sync
from tests.fake_records import fake

pytestmark = pytest.mark.browser
EVIL = "<script>alert(1)</script>"
LARGEST_PAGE = 2 * 10**6


def test_filters_lead_to_one_table_and_never_mix_profiles(visit, built):
    page = small(visit, built)
    assert page.locator("#table-title").inner_text() == "mt-multi30k-en-de, small, cpu-2core-avx512.v1"
    assert len(column(page, "method")) == 12 and every_row(page) == 18
    page.select_option("#profile", "nvidia-h200.v1")
    sync.expect(page.locator("#rows tbody tr")).to_have_count(6)
    assert "nvidia-h200.v1" in page.locator("#table-title").inner_text()
    assert "6 of 6 rows" in page.locator("#said").inner_text()
    page.fill("#search", "NEURON")
    assert set(column(page, "method")) == {"mos-neuron"}
    assert "3 of 6 rows" in page.locator("#said").inner_text()
    page.select_option("#task", "mt-other")
    page.fill("#search", "")
    sync.expect(page.locator("#table-title")).to_contain_text("mt-other")
    all_columns(page)
    assert set(column(page, "verified")) == {"self-reported"}
    assert page.locator("#profile option").all_inner_texts() == ["cpu-2core-avx512.v1"]


def test_rows_are_sorted_by_the_chosen_column_and_metric(visit, built):
    page = small(visit, built)
    assert figures(page, "quality") == sorted(figures(page, "quality"), reverse=True)
    all_columns(page)
    page.get_by_role("button", name="p50 ms").press("Enter")
    assert figures(page, "p50") == sorted(figures(page, "p50"))
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("p50 ms")
    page.get_by_role("button", name="p50 ms").click()
    assert figures(page, "p50") == sorted(figures(page, "p50"), reverse=True)
    page.select_option("#metric", "chrf")
    page.select_option("#sort", "quality")
    sync.expect(page.locator("th[aria-sort=descending]")).to_contain_text("chrF")
    assert figures(page, "quality") == sorted(figures(page, "quality"), reverse=True)
    assert figures(page, "quality")[0] > 50
    assert "highest chrF" in page.locator("#said").inner_text()


def test_the_latency_limit_moves_by_keyboard(visit, built):
    page = small(visit, built)
    page.locator("#limit").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    text = page.locator("#limit-text").inner_text()
    most = float(text.split()[0])
    assert page.locator("#limit").get_attribute("aria-valuetext") == f"at most {text}"
    assert every_row(page) == 13 == 18 - page.locator(".point.beyond").count()
    assert max(figures(page, "ratio")) <= most and text.endswith(" x reference")
    assert page.locator(".bound").get_attribute("visibility") is None
    page.keyboard.press("End")
    assert every_row(page) == 18 and page.locator(".bound").get_attribute("visibility") == "hidden"


def test_a_mark_shows_its_row_by_mouse_and_by_keys(visit, built):
    page = small(visit, built)
    marks = page.locator("#plot [role=listitem]")
    assert marks.count() == 18
    marks.nth(4).hover(force=True)
    assert (
        "BLEU" in page.locator("#details").inner_text()
        and "x reference" in page.locator("#details").inner_text()
    )
    marks.first.focus()
    first = page.locator("#details").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#details").inner_text() != first
    assert marks.nth(1).get_attribute("aria-label") in page.locator("#details").inner_text()
    assert page.locator("#plot [tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("main section h2")
    assert page.url.split("/")[-2].startswith("row.html")


def test_marks_differ_without_colour(visit, built):
    page = small(visit, built)
    shapes = page.locator("#legend .body").evaluate_all("all => all.map(one => one.getAttribute('d'))")
    assert len(set(shapes)) == 6


def test_a_row_has_a_page_with_its_provenance_and_commands(visit, built):
    page = small(visit, built)
    page.fill("#search", "scratch")
    page.locator("#rows tbody a").first.click()
    page.wait_for_selector("main section h2")
    assert page.locator("h1").inner_text().strip().startswith("scratch, limit 0.8 x ref")
    text = page.locator("main").text_content()
    assert "3 runs behind this row" in text and text.count("no verdict of a re-run") == 2
    assert "--methods scratch --seeds 2, --profile cpu-2core-avx512.v1" in text
    assert text.count("results/records/mt-multi30k-en-de/cpu-2core-avx512.v1/scratch/") >= 6
    for part in ("Fake CPU with AVX-512", "train.en", "2.13.0", "OMP_NUM_THREADS", "0" * 40, "seal"):
        assert part in text
    page.locator("#back").click()
    page.wait_for_selector("#rows tbody tr")
    assert page.locator("#tier").input_value() == "small"


def test_every_measured_figure_has_its_interval_and_each_test_set_its_table(visit, built):
    page = small(visit, built)
    all_columns(page)
    heads = [head.strip() for head in page.locator("#rows thead th").all_inner_texts()]
    counted = (
        "Method",
        "Limit",
        "Status",
        "Run",
        "Verified",
        "Parameters M",
        "MMACs",
        "MB",
        "Seeds",
        "Weights",
    )
    counted += ("Tokens %", "Evaluations %", "Probes %", "Peak")
    for head in heads:
        if not head.startswith(counted):
            assert all("[" in text for text in column(page, head)), head
    assert page.locator("#sets thead").inner_text().split()[:4] == [
        "method",
        "limit",
        "pooled",
        "test_2016_flickr",
    ]
    cells = page.locator("#sets tbody td:not(.left)").all_inner_texts()
    assert len(cells) == 12 * 4 and all("[" in cell for cell in cells)
    assert "nrefs:1|case:mixed" in page.locator("#sets-caption").inner_text()
    first = page.locator("#sets tbody tr").first.inner_text()
    page.select_option("#metric", "chrf")
    assert page.locator("#sets tbody tr").first.inner_text() != first
    assert "nc:6" in page.locator("#sets-caption").inner_text()
    page.fill("#search", "scratch")
    assert page.locator("#sets tbody tr").count() == 3
    page.locator("#rows tbody a").first.click()
    page.wait_for_selector("main section table")
    assert page.locator("main table tbody tr").count() == 3
    assert all("[" in text for text in page.locator("main table tbody td:not(.left)").all_inner_texts())
    page = overview(visit, built)
    page.select_option("#tier", "crowd")
    sync.expect(page.locator("#table-title")).to_contain_text("crowd")
    assert all(text.endswith("] s") for text in column(page, "quality"))
    assert all(text.endswith("] t") for text in column(page, "ratio"))


def test_the_profiles_are_a_picture_with_words(visit, built):
    page = small(visit, built)
    picture = page.locator("#profiles img")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    assert picture.get_attribute("alt").startswith(
        "Performance profiles. hypervolume: on the share of workloads"
    )
    assert "Nothing is ranked by it" in page.locator("#profiles").inner_text()


def test_rows_are_filtered_by_verdict(visit, built):
    page = small(visit, built)
    all_columns(page)
    assert {text.split(":")[0] for text in column(page, "verified")} <= {
        "quality does not reproduce; latency reproduces",
        "quality reproduces; latency cannot tell",
        "self-reported",
    }
    page.select_option("#verified", "quality does not reproduce")
    assert set(column(page, "method")) == {"hat"}
    assert set(column(page, "verified")) == {
        "quality does not reproduce; latency reproduces: 2 of 3 runs, 2026-02-03"
    }
    assert page.locator("#legend li").count() == 1 and page.locator("#plot [role=listitem]").count() == 3
    page.select_option("#verified", "quality reproduces")
    assert set(column(page, "verified")) == {
        "quality reproduces; latency cannot tell: 1 of 3 runs, 2026-04-05"
    }
    page.select_option("#verified", "quality cannot tell")
    assert column(page, "method") == [] and "0 of 18 rows" in page.locator("#said").inner_text()


def test_a_row_shows_when_where_and_how_it_was_run_again(visit, built):
    page = small(visit, built)
    page.select_option("#verified", "quality reproduces")
    page.locator("#rows tbody a").first.click()
    page.wait_for_selector("main section h2")
    page.locator("details.run").evaluate_all("all => all.forEach(one => { one.open = true; })")
    told = page.locator(".again")
    assert [t.split("\n")[0] for t in told.all_inner_texts()] == [
        "quality reproduces to the bit; latency cannot tell"
    ] * 2
    first, second = told.all_inner_texts()
    for part in (
        "2026-04-05",
        "another kind of machine: Fake CPU with AVX-512",
        "spec.profile",
        "measured under",
    ):
        assert part in first
    for part in (
        "2026-03-04",
        "another kind of machine",
        "machine.fingerprint",
        "quality at limit 0.4 x ref: published",
    ):
        assert part in second
    text = page.locator("main").text_content()
    assert "supernet-bench verify results/records/mt-multi30k-en-de/cpu-2core-avx512.v1/scratch/" in text


def test_latency_in_another_runtime_has_a_column_of_its_own(visit, built):
    page = small(visit, built)
    assert "ONNX" not in page.locator("#rows thead").inner_text()
    page.select_option("#task", "mt-other")
    sync.expect(page.locator("#table-title")).to_contain_text("mt-other")
    title = "ms (ONNX Runtime 1.32.0, fp32)"
    told = "1,234 [1,172, 1,296] t, 0.50 x PyTorch (1 of 2 runs)"
    all_columns(page)
    assert page.locator("#rows thead th").all_inner_texts()[-1].strip() == title
    assert sorted(column(page, title)) == ["-", "-", told]
    page.select_option("#sort", title)
    sync.expect(page.locator("[aria-sort]")).to_contain_text(title)
    page.locator("#rows thead button").last.click()
    assert column(page, title)[0] == told
    page.locator("#rows tbody a").first.click()
    page.wait_for_selector("main section h2")
    text = page.locator("main").text_content()
    assert told in text and f"Timed elsewhere: {title}" in text and "rt:ort-1.32.0" in text
    page.locator("#back").click()
    page.wait_for_selector("#rows tbody tr")
    page.select_option("#profile", "cpu-2core-avx512.v1")
    page.select_option("#sort", title)
    page.select_option("#task", "mt-multi30k-en-de")  # a table without the column it is sorted by
    sync.expect(page.locator("#table-title")).to_contain_text("mt-multi30k")
    assert page.locator("#sort").input_value() == "quality"


def test_a_wrong_address_shows_a_message(visit, built):
    page = visit.open(built / "row.html", "#../../x/1")
    sync.expect(page.locator("#said")).to_contain_text("names no row")


def test_long_tables_are_paged(visit, built):
    page = overview(visit, built)
    page.select_option("#tier", "crowd")
    sync.expect(page.locator("#table-title")).to_contain_text("crowd")
    pages = page.get_by_role("navigation", name="Pages of: the table")
    assert len(column(page, "method")) == 12 and "page 1 of 8" in pages.inner_text()
    for _ in range(7):
        pages.get_by_role("button", name="Next rows").click()
    assert len(column(page, "method")) == 6 and pages.get_by_role("button", name="Next rows").is_disabled()
    assert page.locator("#legend li").last.inner_text().startswith("and 6 more")


def test_a_hostile_message_is_text(visit, built):
    page = small(visit, built)
    assert page.locator("#troubles").inner_text() == f"hat, seed 7: failed: {EVIL}</script>"
    page.fill("#search", "hat")


def test_a_method_named_script_is_text(visit, tmp_path):
    # The schema refuses such a name; the page must not depend on that.
    found = [fake("evil", seed) | {"message": EVIL} for seed in (1, 2)]
    for record in found:
        record["spec"]["method"] = EVIL
        record["spec"]["options"] = {EVIL: EVIL}
        record["provenance"]["machine"] = {EVIL: EVIL}
    kept = [run_summary.summarize(record, keep=True, place=i) for i, record in enumerate(found)]
    (name,) = set(grouping.labels(kept).values())
    assert name.startswith(f"{EVIL} ({EVIL}")  # a row names its options, hostile or not
    file = run_files.RunFile(tmp_path, 0)
    for run, record in zip(kept, found, strict=True):
        file.add(run_page(run, record, Attached(), "records"))
    file.write()
    entry = pages.write_table(tmp_path, build_from_runs(kept), "0123456789ab", EVIL, "evil")
    pages.write_pages(tmp_path, [entry], 2, [])
    page = overview(visit, tmp_path)
    assert column(page, "method") == [name] * 3
    assert page.locator("#table-title").inner_text() == EVIL
    assert page.locator("#legend li").inner_text().strip() == name
    page.locator("#rows tbody a").first.click()
    page.wait_for_selector("main section h2")
    assert page.locator("h1").inner_text().strip().startswith(EVIL)
    assert EVIL in page.locator("main").text_content()
    assert page.locator("script[src^='data/']").count() >= 4 and page.locator("main script").count() == 0
    assert EVIL not in (tmp_path / "plain.html").read_text()


def test_an_inline_script_would_not_run(browser, built):
    page = browser.new_context().new_page()
    page.goto((built / "row.html").as_uri())
    script = "Object.assign(document.createElement('script'), {text: 'window.ran = 1'})"
    page.evaluate(f"document.body.append({script})")
    assert page.evaluate("window.ran") is None
    page.context.close()


def test_the_claims_have_a_page(visit, built):
    page = visit.open(built / "claims.html")
    page.wait_for_selector("main .claim")
    assert "not tested" in page.locator("#said").inner_text()
    articles = page.locator("main .claim").all_text_contents()
    assert any("supernet-bench run mt" in text for text in articles)
    assert all("To decide it:" in text for text in articles if "undecided:" in text)
    assert any("supernet-bench study simq-" in text for text in articles)


PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.mark.parametrize(
    "visit",
    [PHONE, PHONE | {"color_scheme": "dark", "reduced_motion": "reduce"}],
    indirect=True,
    ids=["light", "dark"],
)
@pytest.mark.parametrize("name", ["index.html", "row.html", "claims.html"])
def test_nothing_is_wider_than_a_phone(visit, built, name):
    page = small(visit, built)
    fragment = page.locator("#rows tbody a").first.get_attribute("href").partition("#")[2]
    page = visit.open(built / name, f"#{fragment}" if name == "row.html" else "")
    page.wait_for_selector("main h2")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (colour != "rgb(255, 255, 255)") == dark


READABLE = r"""() => {
  const parts = text => [...text.match(/[\d.]+/g).map(Number), 1].slice(0, 4);
  const linear = x => x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3]));
  const behind = one => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0) layers.unshift(colour);
      if (colour[3] === 1) break;
    }
    return layers.reduce((below, above) => over(above, below), [255, 255, 255]);
  };
  document.querySelectorAll("details").forEach(one => { one.open = true; });
  const pale = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.checkVisibility()) continue;
    if (one.closest("script, noscript, :disabled")) continue;
    const page = behind(one), style = getComputedStyle(one);
    const ink = light(over(parts(one.ownerSVGElement ? style.fill : style.color), page)), paper = light(page);
    seen += 1;
    if (Math.max(ink, paper) / Math.min(ink, paper) < 4.5) pale.push(texts.currentNode.data.trim());
  }
  const controls = "button, select, summary, nav a, label:has(input)";
  const tiny = [...document.querySelectorAll(controls)].filter(
    one => one.checkVisibility() && one.getBoundingClientRect().height < 24
  ).map(one => one.innerText);
  const about = document.querySelector("meta[name=description]").content;
  return {seen, pale, tiny, description: about.length > 40};
}"""
"""Texts of less than WCAG's contrast of 4.5, and controls too low for fingers (WCAG 2.2: 24 pixels)."""


@pytest.mark.parametrize(
    "visit", [PHONE, PHONE | {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"]
)
@pytest.mark.parametrize("name", ["index.html", "row.html", "claims.html"])
def test_texts_have_contrast_and_controls_room_for_a_finger(visit, built, name):
    page = small(visit, built)
    fragment = page.locator("#rows tbody a").first.get_attribute("href").partition("#")[2]
    page = visit.open(built / name, f"#{fragment}" if name == "row.html" else "")
    page.wait_for_selector("main h2")
    page.wait_for_timeout(200)
    seen = page.evaluate(READABLE)
    assert seen.pop("seen") > 40
    assert seen == {"pale": [], "tiny": [], "description": True}


def test_every_control_has_an_accessible_name(visit, built):
    page = overview(visit, built)
    tree = page.locator("body").aria_snapshot()
    for landmark in ("banner", "main", "contentinfo", "navigation", "status", "slider", "searchbox"):
        assert landmark in tree
    unnamed = page.locator("select, input, button:visible, section, figure, table, nav, form").evaluate_all(
        """all => all.filter(one => !one.labels?.length && !one.getAttribute("aria-label") && !one.innerText
           && !document.getElementById(one.getAttribute("aria-labelledby"))?.textContent
           && !one.caption?.textContent).map(one => one.id)"""
    )
    assert unnamed == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_a_visit_weighs_less_than_two_megabytes(visit, built):
    page = overview(visit, built)
    page.locator("#rows tbody a").first.click()
    page.wait_for_selector("main section h2")
    urls = [url.partition("#")[0] for url in visit.asked if url.startswith("file:")]
    files = {Path(url.removeprefix("file://")) for url in urls}
    assert len(files) > 12
    assert sum(path.stat().st_size for path in files) < LARGEST_PAGE
