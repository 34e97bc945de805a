"""Judge a published file of measured fronts again, by the rule of today.

``supernet-bench study NAME --rejudge`` measures nothing. Points, timings and accuracies
stay those of the file; verdicts, page and plots are made anew, and the file names the commit at which it was
measured.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.records import study_files
from benchmarks.records.canonical import JsonObject
from benchmarks.records.study_files import StudyOutcome
from benchmarks.stats.rounding import six_digits
from benchmarks.studies.simq_fronts import report
from benchmarks.studies.simq_fronts.facts import TableFacts, add_table_facts
from simq.tabular.table import shipped_tables

WIDTH = 2 * 1.959964
"""Width of a two-sided 95 % interval in standard errors."""


def rejudge(path: Path) -> StudyOutcome:
    """Return the outcome of a study's file by the rule of today.

    Raises:
        InvalidRecordError: the file is no study, or was changed after it was written.
    """
    seal = study_files.load(path, figures=False).seal
    old = json.loads(path.read_text("utf-8"))
    about: report.About = {
        key: old[key] for key in ("signature", "profile", "seeds", "evaluations", "inner", "shown")
    }  # type: ignore[assignment]
    about["quality"] = old.get("quality", "loss")
    about["rounds"] = old.get("rounds") or int(old["signature"].split("|n:")[1].split("|")[0])
    measured: report.MeasuredAt = {"commit": old["written"]["commit"], "seal": seal}
    about["measured"] = old.get("measured", measured)
    paths = shipped_tables()
    tables = [
        add_table_facts(paths[table["table"]["name"]], upgrade(table), about["quality"])
        for table in old["tables"]
    ]
    return report.outcome(about, tables)


def upgrade(table: JsonObject) -> TableFacts:
    """Return the facts of a table of any version of the file, with differences to INT8 at each point.

    Older files have them for answers alone, as bootstrap intervals.
    """
    dropped = ("answers", "error_of_predicted_latency")
    facts = {key: value for key, value in table.items() if key not in dropped}
    base = next(p for p in table["points"] if p["place"] == table["largest"]["int8"])
    old_answers = table["answers"] if isinstance(table["answers"], list) else []
    intervals = {answer["place"]: answer for answer in old_answers}
    facts["points"] = []
    for old_point in table["points"]:
        point = {key: value for key, value in old_point.items() if not key.startswith("times_")}
        if "accuracy_above_int8" not in point:
            for key in ("accuracy", "loss"):
                interval = intervals.get(point["place"], {}).get(key)
                error = None if interval is None else six_digits((interval[2] - interval[1]) / WIDTH)
                point[f"{key}_above_int8"] = [six_digits(point[key] - base[key]), error]
        facts["points"].append(point)
    return facts  # type: ignore[return-value]
