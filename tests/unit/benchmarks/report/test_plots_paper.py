"""Figures and table for a paper: one column wide, readable, and a document that compiles."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from benchmarks.analysis.table import build_table
from benchmarks.report import files, latex
from benchmarks.report.plots import paper
from tests.fake_records import fake, study

HOSTILE = "[a_b] & 50 % of $x$ ~ #1 \\end{table} <日本> |"


@pytest.fixture(scope="module", params=["hat", "a-method-with-a-name-of-forty-four-characters"])
def table(request):
    return build_table(
        study((request.param, "mos-neuron", "scratch", "random-search", "hat-sandwich"), seeds=3)
    )


def test_figures_are_one_column_wide_with_type_that_can_be_read(table):
    import matplotlib as mpl

    with mpl.rc_context(paper._RC):
        for name, draw in paper.DRAWINGS.items():
            figure = draw(table)
            assert figure.get_size_inches()[0] == paper.COLUMN, name
            FigureCanvasAgg(figure).draw()
            texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
            assert min(text.get_fontsize() for text in texts) >= paper.TYPE
            inside = figure.bbox.padded(1)
            boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
            keys = [text.get_text() for text in figure.legends[0].get_texts()]
            for said, box in boxes:
                if said in keys:
                    assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0, said
                if (
                    inside.overlaps(box) and (box.x0 + box.x1) / 2 <= figure.axes[0].bbox.x1 + 1
                ):  # ticks outside the axes are not drawn
                    assert box.x0 >= inside.x0 and box.x1 <= inside.x1, (name, said)


def test_a_pdf_has_type_that_can_be_searched_and_the_same_bytes_each_time(table):
    first, second = paper.images(table), paper.images(table)
    assert first == second and set(first) == {"tradeoff.pdf", "anytime.pdf"}
    assert all(b"/Type0" in data and b"/Type3" not in data for data in first.values())


def test_every_environment_and_brace_is_closed_under_any_texts(table):
    table = build_table([fake("hat", message=HOSTILE)])
    table.rows["method"] = HOSTILE
    table.__dict__.pop("each", None)
    table.__dict__["scores"] = []
    text = re.sub(r"(?m)^%.*$", "", latex.column_table(table))
    plain = re.sub(r"\\\\|\\[{}&%$#_]", "", text)
    assert plain.count("{") == plain.count("}")
    assert re.findall(r"\\begin\{(\w+)\}", plain) == re.findall(r"\\end\{(\w+)\}", plain)[::-1]
    assert text.isascii() or max(map(ord, text)) < 0x180


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex: apt-get install texlive-latex-base"
)
def test_the_example_compiles_and_nothing_is_wider_than_a_column(tmp_path, table):
    written = files.write_paper(table, tmp_path)
    hostile = pd.DataFrame({"status": [HOSTILE]})
    paper_text = (tmp_path / "example.tex").read_text()
    (tmp_path / "hostile.tex").write_text(f"\\onecolumn\n{latex.latex_table(hostile)}")
    (tmp_path / "example.tex").write_text(
        paper_text.replace("\\end{document}", "\\input{hostile}\n\\end{document}")
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "example.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert set(written) == {"tradeoff.pdf", "anytime.pdf", "table.tex", "example.tex"}
    assert "Overfull" not in done.stdout and "Underfull" not in done.stdout


def test_the_caption_explains_each_mark_of_the_table_and_names_have_no_default_options(table):
    text = latex.column_table(table)
    caption = text[text.index("\\caption") :]
    assert "BLEU {[}95 \\% interval]; x ref: latency over" in caption and "; s: one network" not in caption
    assert "(default options)" not in text.partition("\\caption")[0].partition("\\begin{table}")[2]
    alone = latex.column_table(build_table([fake("hat"), fake("scratch")]))
    assert "] s" in alone and "; s: one network, and the interval leaves out" in alone
    example = latex.example(table, ["tradeoff.pdf", "anytime.pdf"])
    assert example.count("\\caption{") == 2 and "grey line: front; crosses" in example
