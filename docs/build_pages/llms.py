"""``llms.txt``: the pages with one line each, for readers that are programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HEAD = """\
# supernet-bench

> Benchmark suite and reproducibility harness for efficient-Transformer architecture search: equal budgets,
> one harness, sealed records. Commands: `supernet-bench`. Methods: subclasses of `supernet_bench.Method`.
"""


def write(app: Any, exception: Exception | None) -> None:
    """Write ``llms.txt``, and every page's source beside the pages, after a build without errors."""
    if exception is not None or app.builder.name != "html":
        return
    lines = [HEAD, "## Pages", ""]
    for name in ordered(app.env):
        source = Path(app.env.doc2path(name))
        target = Path(app.outdir) / "sources" / f"{name}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        words = source.read_text(encoding="utf-8")
        target.write_text(words, encoding="utf-8")
        title = app.env.titles[name].astext()
        about = first_sentence(words) or "; ".join(re.findall(r"(?m)^## (.+)$", words)) or title
        lines.append(f"- [{title}](sources/{name}.md): {about}")
    (Path(app.outdir) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def ordered(env: Any) -> list[str]:
    """Return the names of all pages in the order of the contents."""
    names: dict[str, None] = {}

    def add(name: str) -> None:
        names[name] = None
        for child in env.toctree_includes.get(name, ()):
            if child not in names:
                add(child)

    add(env.config.root_doc)
    return list(names)


def first_sentence(words: str) -> str:
    """Return the first sentence of a page's prose, without links and marks."""
    body = re.sub(r"\A---\n.*?\n---\n", "", words, flags=re.DOTALL)
    body = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", body):
        line = " ".join(paragraph.split())
        if line and line[0].isalpha():
            line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line).replace("`", "")
            return re.split(r"(?<=[.?!:]) ", line)[0]
    return ""
