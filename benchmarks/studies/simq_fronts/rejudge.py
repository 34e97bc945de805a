"""Judge a published file of measured fronts again: ``python -m benchmarks.studies.fronts_again RESULTS``.

Nothing is measured. Points, timings and accuracies stay those of the file; what follows from them, its page
and its pictures are made anew, and the file names the commit at which it was measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.records import study_files
from benchmarks.records.studies import Outcome
from benchmarks.registry import arena
from benchmarks.studies.simq_fronts import report
from benchmarks.studies.simq_fronts.study import described, short

WIDTH = 2 * 1.959964
"""Ends of a two-sided 95 % interval apart, in standard errors."""


def again(path: Path) -> Outcome:
    """Return the outcome of a study's file by the rule of today.

    Raises:
        InvalidRecord: it is no study, or was changed after it was written.
    """
    seal = study_files.load(path, figures=False).seal
    old = json.loads(path.read_text("utf-8"))
    kept = ("signature", "profile", "seeds", "evaluations", "inner", "shown")
    about = {key: old[key] for key in kept}
    about["quality"] = old.get("quality", "loss")
    about["rounds"] = old.get("rounds") or int(old["signature"].split("|n:")[1].split("|")[0])
    about["measured"] = old.get("measured") or {"commit": old["written"]["commit"], "seal": seal}
    tables = [described(arena().tables()[one["table"]["name"]], upgraded(one), about["quality"])
              for one in old["tables"]]  # fmt: skip
    return report.outcome(about, tables)


def upgraded(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a table with differences to INT8 at each point.

    Files of before have them for answers alone, as bootstrap intervals.
    """
    dropped = ("answers", "error_of_predicted_latency")
    facts = {key: value for key, value in one.items() if key not in dropped}
    base = next(p for p in one["points"] if p["place"] == one["largest"]["int8"])
    intervals = {a["place"]: a for a in one["answers"]} if isinstance(one["answers"], list) else {}
    facts["points"] = []
    for point in one["points"]:
        point = {key: value for key, value in point.items() if not key.startswith("times_")}
        if "accuracy_above_int8" not in point:
            for key in ("accuracy", "loss"):
                interval = intervals.get(point["place"], {}).get(key)
                error = None if interval is None else short((interval[2] - interval[1]) / WIDTH)
                point[f"{key}_above_int8"] = [short(point[key] - base[key]), error]
        facts["points"].append(point)
    return facts


def main(results: Path) -> None:
    """Write both studies of fronts anew."""
    from benchmarks.records import provenance, store

    commit, dirty = provenance.source_state()
    for name in report.NAMED.values():
        path = results / study_files.FOLDER / f"{name}.json"
        for ending, content in study_files.files(name, again(path), commit, dirty).items():
            target = path.with_suffix(f".{ending}")
            if isinstance(content, str):
                store.write_text(target, content)
            else:
                target.write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
