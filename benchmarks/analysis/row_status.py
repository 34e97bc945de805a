"""What second runs said of a table's rows: the column ``verified`` and the list of verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.analysis.number_format import NONE
from benchmarks.comparability.run_summary import RunSummary
from benchmarks.records import attachments
from benchmarks.records.text import sanitize
from benchmarks.verification import verdict_files

if TYPE_CHECKING:
    import pandas as pd

Verdicts = Mapping[str, Sequence[attachments.Attachment]]
"""Record id -> the checked verdicts on it, newest first; what is not in it was never verified."""


def column(
    table: pd.DataFrame, latest: Sequence[RunSummary], named: Mapping[str, str], verdicts: Verdicts
) -> list[str]:
    """For each row of a table, what may be said of it: the answer, and from how many of its runs."""
    of_method: dict[str, dict[str, str]] = {}
    for run in latest:
        of_method.setdefault(named[run.id], {})[str(run.seed)] = run.id
    found = []
    for method, seeds, compared in zip(table["of"], table["seeds"], table["compared"], strict=True):
        mine = of_method[method]
        if seeds and not compared:
            found.append(NONE)  # a second run is judged by its product
            continue
        ids = [mine[seed] for seed in seeds.split()] or list(mine.values())
        found.append(verdict_files.row_status([verdicts.get(i, ()) for i in ids]))
    return found


def told(latest: Sequence[RunSummary], named: Mapping[str, str], verdicts: Verdicts) -> list[dict[str, Any]]:
    """Every verdict on the runs of a table as plain texts, newest first for each run."""
    return [
        {"method": named[run.id], "seed": run.seed, "record": run.id, **texts(made, run.fingerprint)}
        for run in latest
        for made in verdicts.get(run.id, ())
    ]


def texts(made: attachments.Attachment, fingerprint: object) -> dict[str, Any]:
    """One verdict as plain texts; ``fingerprint``: of the machine of the published run."""
    return {
        "answer": verdict_files.words(made),
        "quality": made["quality"],
        "date": attachments.date(made),
        "machine": verdict_files.machine(made, fingerprint),
        "differing": verdict_files.differing(made),
        "reasons": [sanitize(reason) for reason in made["reasons"][:20]],
        "checks": [_check(check) for check in made["checks"]],
    }


def _check(check: Mapping[str, Any]) -> str:
    """One figure, published and now, in one line."""
    word = {True: "holds", False: "does not hold", None: "cannot tell"}[check["holds"]]
    known = ["none" if v is None else f"{v:.4g}" for v in (check["published"], check["now"])]
    span = "" if check["low"] is None else f" in [{check['low']:.4g}, {check['high']:.4g}]"
    return (
        f"{check['what']} at limit {sanitize(check['limit'], 40)}: published {known[0]},"
        f" now {known[1]}"
        f"{span}: {word} ({sanitize(check['how'], 120)})"
    )


def frame(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The verdicts as a table of texts."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "method": sanitize(line["method"], 60),
                "seed": str(line["seed"]),
                "record": line["record"],
                "verdict": line["answer"],
                "date": line["date"],
                "machine": line["machine"],
                "what differed": line["differing"],
                "because": "; ".join(line["reasons"]) or "-",
            }
            for line in lines
        ]
    )
