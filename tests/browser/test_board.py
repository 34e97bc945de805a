"""The board at three widths: first screen, addresses, views, paper, no script, ten thousand rows."""

from dataclasses import replace

import pandas as pd
import pytest

from benchmarks.analysis.row_details import RowDetails
from benchmarks.analysis.table import build_from_runs
from benchmarks.comparability import run_summary
from benchmarks.leaderboard.site import pages
from tests.browser.pages import column, every_row, overview, small, sync
from tests.fake_records import study

pytestmark = pytest.mark.browser
WIDTHS = {"desk": (1280, 900), "tablet": (768, 1024), "phone": (390, 844)}
at_each_width = pytest.mark.parametrize(
    "visit",
    [{"viewport": {"width": w, "height": h}} for w, h in WIDTHS.values()],
    indirect=True,
    ids=[*WIDTHS],
)
OVERLAPS = """() => {
  const boxes = [...document.querySelectorAll("#plot svg text")].filter(one => one.textContent)
    .map(one => [one.textContent, one.getBoundingClientRect()]);
  const svg = document.querySelector("#plot svg")?.getBoundingClientRect();
  const found = [];
  boxes.forEach(([text, a], i) => {
    const cut = svg && (a.left < svg.left - 1 || a.right > svg.right + 1 || a.top < svg.top - 1
      || a.bottom > svg.bottom + 1);
    if (cut) found.push(text + " is cut");
    boxes.slice(i + 1).forEach(([other, b]) => {
      const apart = a.left >= b.right || b.left >= a.right || a.top >= b.bottom || b.top >= a.bottom;
      if (!apart) found.push(text + " on " + other);
    });
  });
  return found;
}"""


def test_the_first_screen_has_the_headline_its_meaning_and_the_claims(visit, built):
    page = overview(visit, built)
    assert page.locator("#table-title").inner_text() == "mt-multi30k-en-de, small, cpu-2core-avx512.v1"
    assert (
        page.locator("#meaning")
        .inner_text()
        .startswith("At equal budgets and within its limit, mos-neuron reaches the most: BLEU")
    )
    names = page.locator("#links a").all_inner_texts()
    assert {"How to submit", "Paper: Mixture-of-Supernets", "Paper: SimQ-NAS", "Claims, judged"} <= {*names}
    assert "claims, the papers' and our own" in page.locator("#glance").inner_text()
    for part in ("#rows tbody tr", "#plot svg", "#limit"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + min(box["height"], 300) < 900, part
    page.locator("#glance a").last.click()
    page.wait_for_selector("main .claim")
    assert page.locator("#verdict").input_value() == "not tested"


@at_each_width
def test_the_main_table_fits_and_names_are_whole(visit, built):
    page = small(visit, built)
    wide = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == wide
    scroll = page.locator(".rows .scroll")
    assert scroll.evaluate("one => one.scrollWidth <= one.clientWidth")
    for name in page.locator("#rows tbody th a").all():
        assert name.evaluate(
            "one => one.scrollWidth <= one.clientWidth + 1 || getComputedStyle(one).display === 'inline'"
        )
    if wide == 1280:
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll')].every(one => one.scrollWidth <= one.clientWidth + 1)"
        )
    page = overview(visit, built)
    head = page.locator("#rows thead th", has_text="BLEU").bounding_box()
    assert head["x"] + head["width"] <= wide and head["y"] + head["height"] < page.viewport_size["height"]


BROKEN = """() => [...document.querySelectorAll("tbody th")].flatMap(cell => {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), broken = [];
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/[^\\s-]+/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      const tops = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
      if (tops.size > 1) broken.push(word[0]);
    }
  }
  return broken;
})"""
"""Words in names of rows that stand on more than one line; names may be broken at spaces and hyphens."""


@at_each_width
def test_no_name_is_broken_inside_a_word(visit, built):
    page = small(visit, built)
    assert page.locator("tbody th").count() > 20
    assert page.evaluate(BROKEN) == []
    page.locator("#rows tbody th a").first.evaluate("one => { one.textContent = 'x'.repeat(200); }")
    assert page.evaluate(BROKEN) == [] or page.evaluate(BROKEN) == ["x" * 200], "the longest may be broken"
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


def test_a_chart_that_was_out_of_sight_has_its_width_again(visit, built):
    page = overview(visit, built)
    width = "document.querySelector('#plot svg').getAttribute('width')"
    before = page.evaluate(width)
    for shown in ("none", ""):
        page.evaluate("shown => { document.querySelector('#plot').style.display = shown; }", shown)
        page.wait_for_timeout(200)
    assert page.evaluate(width) == before and int(before) > 400
    page.set_viewport_size({"width": 390, "height": 844})
    sync.expect(page.locator("#plot svg")).not_to_have_attribute("width", before)


@at_each_width
def test_no_label_of_an_axis_lies_on_another_or_is_cut(visit, built):
    page = small(visit, built)
    for view in ("trade-off", "any-time", "break-even"):
        page.click(f"#views button[value={view}]")
        page.wait_for_selector("#plot svg .mark")
        assert page.evaluate(OVERLAPS) == [], view
    page.click("#views button[value=win-rate]")
    page.wait_for_selector("#plot table")
    rates = page.locator("#plot tbody tr").first.locator("td").all_inner_texts()
    assert len(rates) == 6 and all(0 <= int(rate) <= 100 for rate in rates if rate != "\u2013")


def test_win_rates_of_many_methods_fit_and_equal_costs_are_named(visit, built):
    page = small(visit, built)
    page.click("#views button[value=break-even]")
    sync.expect(page.locator("#plot")).to_contain_text("lie upon one another")
    assert "mos-neuron" in page.locator("#plot p").inner_text()
    page.select_option("#tier", "crowd")
    sync.expect(page.locator("#table-title")).to_contain_text("crowd")
    page.click("#views button[value=win-rate]")
    page.wait_for_selector("#plot table")
    assert page.locator("#plot tbody tr").count() == 30
    assert page.locator("#plot .scroll").evaluate("one => one.scrollWidth <= one.clientWidth")
    every = page.locator("#plot tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].slice(1).filter(one => /[0-9]/.test(one.textContent)).length)"
    )
    assert min(every) > 0, "a method without a pair has no row"


def test_the_number_of_targets_orders_methods_by_their_cost(visit, built):
    page = small(visit, built)
    page.click("#views button[value=break-even]")

    def shown(place):
        page.locator("#targets").fill(place)
        rows = page.locator("#plot .even tbody tr").all_inner_texts()
        return {row.split("\t")[0].strip(): row.split("\t")[1:] for row in rows}

    one, many = shown("0"), shown("12")
    assert page.locator("#plot output").inner_text() == "100"
    assert next(iter(one)) == "scratch" != next(iter(many)), "the cheapest stands first"
    assert one["scratch"][0] == many["scratch"][0] and one["hat"][0] != many["hat"][0]
    assert float(many["hat"][2]) > 1 and "[" in many["hat"][3] and many["scratch"][2] == ""
    page.click("#views button[value=trade-off]")
    page.click("#views button[value=break-even]")
    assert page.locator("#plot output").inner_text() == "100", "kept when the chart is drawn again"


def test_every_choice_is_in_the_address(visit, built):
    page = small(visit, built)
    page.select_option("#metric", "chrf")
    page.select_option("#sort", "p50")
    sync.expect(page.locator("#rows thead")).to_contain_text("chrF")
    page.fill("#search", "a")
    page.locator("#legend button").first.click()
    page.locator("#limit").focus()
    page.keyboard.press("ArrowLeft")
    page.click("#views button[value=win-rate]")
    page.locator("details.columns > summary").click()
    page.locator("#chooser input[value=macs]").check()
    sync.expect(page.locator("#rows thead")).to_contain_text("MMACs")
    said, method, address = page.locator("#said").inner_text(), column(page, "method"), page.url
    other = visit.page.context.new_page()
    other.goto(address)
    other.wait_for_selector("#plot table")
    assert other.locator("#said").inner_text() == said and column(other, "method") == method
    assert other.locator("#metric").input_value() == "chrf" and other.locator("#search").input_value() == "a"
    assert "MMACs" in other.locator("#rows thead").inner_text() and other.url == address


def test_the_legend_hides_a_method_in_chart_and_tables(visit, built):
    page = small(visit, built)
    names = page.locator("#legend button").all_inner_texts()
    assert len(names) == 6
    drawn = page.locator("#plot [role=listitem]").count()
    first = page.locator("#legend button").first
    first.press("Enter")
    assert page.locator("#plot [role=listitem]").count() == drawn - 3 and every_row(page) == 15
    assert first.get_attribute("aria-pressed") == "false"
    assert names[0].strip() not in {
        text.split("\t")[0] for text in page.locator("#sets tbody tr").all_inner_texts()
    }
    first.press("Enter")
    assert every_row(page) == 18
    page.fill("#search", "scratch")
    assert [text.strip() for text in page.locator("#legend button").all_inner_texts()] == ["scratch"]


def test_best_and_worst_never_look_alike_and_a_method_looks_the_same_everywhere(visit, built):
    page = small(visit, built)
    looks = """all => all.map(one => one.querySelector('.body').getAttribute('d')
      + one.querySelector('.mark').getAttribute('class'))"""
    legend = page.locator("#legend button").evaluate_all(looks)
    assert len(set(legend)) == 6
    by_name = dict(
        zip([t.strip() for t in page.locator("#legend button").all_inner_texts()], legend, strict=True)
    )
    page.select_option("#profile", "nvidia-h200.v1")
    sync.expect(page.locator("#table-title")).to_contain_text("h200")
    rows = page.locator("#rows tbody th").evaluate_all(looks)
    for name, look in zip(column(page, "method"), rows, strict=True):
        assert by_name[name] == look


def test_a_network_over_its_limit_is_crossed_out_and_text_floats_at_the_point(visit, built):
    page = overview(visit, built)
    assert page.locator("#plot .over").count() == 0
    page.select_option("#tier", "over")
    sync.expect(page.locator("#table-title")).to_contain_text("over")
    assert (
        page.locator("#plot .over").count() == 3 and "over its limit by" in page.locator("#rows").inner_text()
    )
    assert page.locator(".front").get_attribute("d") == ""
    mark = page.locator("#plot .point").nth(1)
    mark.hover(force=True)
    tip, point = page.locator(".tip").bounding_box(), mark.locator(".mark").bounding_box()
    assert abs(tip["y"] + tip["height"] - point["y"]) < 60 or abs(tip["y"] - point["y"]) < 60
    assert "over its limit" in page.locator(".tip").inner_text()


def test_claims_are_filtered_and_the_address_holds_the_filters(visit, built):
    page = visit.open(built / "claims.html")
    page.wait_for_selector("main .claim")
    assert page.evaluate("document.documentElement.scrollHeight") < 6000
    every = page.locator("#summary tbody tr").count()
    page.fill("#search", "mixture")
    some = page.locator("#summary tbody tr").count()
    assert 0 < some < every and page.locator(".claim:visible").count() == some
    assert page.url.endswith("#q=mixture") or "q=mixture" in page.url
    page.locator("#summary tbody a").first.click()
    assert page.locator(".claim[open]").count() == 1
    other = visit.page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".claim[open]")
    assert other.locator("#summary tbody tr").count() == some


def test_a_row_shows_its_method_its_runner_and_the_course_of_the_run(visit, built):
    page = small(visit, built)
    page.fill("#search", "mos-neuron")
    page.locator("#rows tbody a").first.click()
    page.wait_for_selector("main .trace svg")
    summary = page.locator("main section").first.inner_text()
    assert "mos-neuron under the limit" in summary and "from 3 runs; 3 seeds" in summary
    assert "verified by the method's authors: no" in summary and "run by: not stated" in summary
    run = page.locator("main section").nth(1)
    text = run.inner_text()
    for part in (
        "source of the method",
        "mos/",
        "isolation of the method",
        "supernet-bench verify",
        "supernet 80 %",
    ):
        assert part in text, part
    assert run.locator(".trace svg").count() == 2 and run.locator(".bars svg").count() == 5
    cut = """all => all.filter(one => { const box = one.getBoundingClientRect();
      const room = one.ownerSVGElement.getBoundingClientRect();
      return box.left < room.left - 1 || box.right > room.right + 1; }).map(one => one.textContent)"""
    assert run.locator(".trace svg text").evaluate_all(cut) == []
    assert run.locator("a[href*='/records/']").count() == 1


def test_paper_has_every_row_column_and_claim(visit, built):
    page = small(visit, built)
    page.wait_for_selector("#downloads a")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#rows tbody tr").count() == 18 and page.locator("#rows thead th").count() == 20
    page.emulate_media(media="print")
    assert page.locator("#filters").is_hidden() and page.locator("#links").is_hidden()
    heads = page.locator("#rows thead th")
    # A browser repeats the text of a head on each page, and no button in it.
    assert all(
        heads.nth(i).locator("button").count() == 0 or heads.nth(i).locator("button").is_hidden()
        for i in range(20)
    )
    assert all(heads.nth(i).inner_text().strip() for i in range(20))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)",
        "rgba(0, 0, 0, 0)",
    )
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("#rows tbody tr").count() == 12
    page = visit.open(built / "claims.html")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".claim:not([open])").count() == 0


@pytest.mark.parametrize("visit", [{"java_script_enabled": False}], indirect=True)
def test_without_a_script_the_tables_and_claims_are_one_link_away(visit, built):
    page = visit.open(built / "index.html")
    page.locator("noscript a").click()
    page.wait_for_selector("table")
    assert page.locator("h2").first.inner_text() == "mt-multi30k-en-de, small, cpu-2core-avx512.v1"
    text = page.locator("body").inner_text()
    assert "mos-neuron" in text and "Every claim with its verdict" in text and "[" in text


def many_rows(folder, count):
    """Write a site with one table of ``count`` rows."""
    runs = [run_summary.summarize(record, keep=True, place=i) for i, record in enumerate(study(("hat",), 1))]
    table = build_from_runs(runs)
    row, details = table.each[0], table.details[0]
    rows = [
        row
        | {"method": f"method-{i:05d}", "quality": 20 + i / 1000, "ratio": 0.3 + (i * 7919 % 5000) / 10_000}
        for i in range(count)
    ]
    large = replace(table, rows=pd.DataFrame(rows))
    large.__dict__["details"] = [
        RowDetails(
            {m: (20 + i / 1000, 19.0 + i / 1000, 21.0 + i / 1000, "seeds") for m in details.scores}, [0]
        )
        for i in range(count)
    ]
    large.__dict__["scores"] = []
    written = pages.write_table(folder, large, "0123456789ab", "many, rows, here", "many", brief=True)
    pages.write_pages(folder, [written], count, [])


def test_ten_thousand_rows_are_there_within_a_second_and_two_megabytes(visit, tmp_path):
    many_rows(tmp_path, 10_000)
    sizes = {p.name: p.stat().st_size for p in tmp_path.rglob("*") if p.suffix in (".js", ".html", ".css")}
    more = sorted(size for name, size in sizes.items() if "-more-" in name)
    assert sum(sizes.values()) - sum(more) < 2 * 10**6, sizes
    assert max(more) < 2 * 10**6
    visit.page.context.add_init_script(
        "new MutationObserver((_, self) => { if (document.querySelector('#rows tbody tr')) "
        "{ window.first = window.first || performance.now(); self.disconnect(); } })"
        ".observe(document, {childList: true, subtree: true});"
    )
    seen = []
    for _ in range(3):  # the best of three: other programs share the machine
        page = overview(visit, tmp_path)
        seen.append(page.evaluate("window.first"))
    assert min(seen) < 1000, seen
    assert every_row(page) == 10_000 and column(page, "method")[0] == "method-09999"
    assert (
        page.locator("#plot .point").count() <= 420 and "rows are drawn" in page.locator("#plot").inner_text()
    )
