"""Ways to open the overview and to read its table."""

import pytest

sync = pytest.importorskip("playwright.sync_api", reason="pip install supernet-bench[browser]")


def overview(visit, built):
    page = visit.open(built / "index.html")
    page.wait_for_selector("#rows tbody tr")
    return page


def small(visit, built):
    """The overview with its largest table of tier small."""
    page = overview(visit, built)
    page.locator("#filter-box").evaluate("one => { one.open = true; }")
    page.select_option("#tier", "small")
    sync.expect(page.locator("#table-title")).to_contain_text(", small,")
    return page


HEADS = {
    "method": "Method",
    "limit": "Limit",
    "status": "Status",
    "verified": "Run again",
    "p50": "p50 ms",
    "ratio": "Latency",
}


def column(page, key):
    """The shown cells of a column, by its key; ``quality`` is the metric's."""
    heads = [head.strip() for head in page.locator("#rows thead th").all_inner_texts()]
    wanted = HEADS.get(key, key)
    at = next(
        i
        for i, head in enumerate(heads, 1)
        if head.startswith(wanted) or (key == "quality" and "[95" in head)
    )
    return [text.strip() for text in page.locator(f"#rows tbody tr > :nth-child({at})").all_inner_texts()]


def figures(page, key):
    return [float(text.split()[0]) for text in column(page, key)]


def every_row(page):
    """Cells of one column on all pages of the main table are those of its rows; 12 stand on one page."""
    return int(page.locator("#said").inner_text().split()[0])


def all_columns(page):
    page.locator("details.columns > summary").click()
    page.click("#all-columns")
    sync.expect(page.locator("#rows thead th").nth(15)).to_be_attached()
