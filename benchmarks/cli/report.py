"""``supernet-bench compare``, ``report``, ``leaderboard``, ``claims``: from records, without torch."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import registry
from benchmarks.api import UsageError
from benchmarks.records import rulesets, store
from benchmarks.runs.plan import Folders

SHOWN = (
    "table.md",
    "table.csv",
    "pareto.png",
    "hypervolume.png",
    "budget.png",
    "search.png",
    "performance.png",
)


def compare(options: argparse.Namespace) -> int:
    """Print the table of existing records of some methods; refuse what cannot be compared."""
    refs = [registry.find(name) for name in dict.fromkeys(options.methods)]
    folders = Folders(options.results, options.suite, options.tier)
    found = store.load_all(folders.store)
    for field, wanted in (("task", options.task), ("profile", options.profile)):
        values = sorted({record["spec"][field] for record in found})
        if wanted is not None and wanted not in values:
            raise registry.unknown(field, wanted, values, f"with records in {folders.store}")
        if wanted is None and len(values) > 1:
            raise UsageError(
                f"there are records of several {field}s: {' '.join(values)}\nname one: --{field} {values[0]}"
            )
        found = [record for record in found if wanted is None or record["spec"][field] == wanted]
    if options.ruleset:
        found = [record for record in found if rulesets.of(record["spec"]) == options.ruleset]
    kept = []
    for ref in refs:
        ours = [
            r for r in found if r["spec"]["method"] == ref.name and r["spec"]["method_sha256"] == ref.sha256
        ]
        if not ours:
            old = any(r["spec"]["method"] == ref.name for r in found)
            why = "its records are of another version of its file" if old else "it has no records"
            names = ",".join(options.methods)
            run = f"supernet-bench run {options.suite} --tier {options.tier} --methods {names}"
            raise UsageError(
                f"{ref.name}: {why} in {folders.store}\nrun it: {run}"
                + (f" --task {options.task}" if options.task else "")
                + (f" --ruleset {options.ruleset}" if options.ruleset else "")
            )
        kept += ours
    baseline = registry.find(options.baseline).name if options.baseline else None
    from benchmarks import report as reports
    from benchmarks.comparability.grouping import COUNTED

    if options.json:
        print(json.dumps(reports.as_json(kept, baseline=baseline), indent=1))
        return 0
    _print(reports.terminal(kept, baseline=baseline))  # refuses runs with unequal allowances
    budget = kept[0]["spec"]["budget"]
    each = " | ".join(f"{budget[kind]:,.10g} {kind}" for kind in COUNTED if budget[kind] is not None)
    ruleset = rulesets.of(kept[0]["spec"])
    print(f"\n equal budgets: all {len(kept)} runs were allowed {each}, under {ruleset} tuning")
    return 0


def report(options: argparse.Namespace) -> int:
    """Write tables, plots and the page of all records of a suite and tier again."""
    folders = Folders(options.results, options.suite, options.tier)
    problems: list[str] = []
    found = store.load_all(folders.store, problems)
    for problem in problems:
        print(f"left out: {problem}")
    if not found:
        raise UsageError(
            f"no records in {folders.store}\n"
            f"make some: supernet-bench run {options.suite} --tier {options.tier}"
        )
    show(found, folders, as_json=options.json, baseline=options.baseline)
    return 0


def show(found: Sequence[store.Record], folders: Folders, *, as_json: bool, baseline: str | None) -> None:
    """Render one report for each group of comparable records; print the tables and the paths."""
    from benchmarks import report as reports
    from benchmarks.comparability import grouping, run_summary

    groups = grouping.groups(run_summary.whole(found))
    written: list[dict[str, Any]] = []
    for number, alike in enumerate(groups):
        group = run_summary.records_of(alike)
        spec = group[0]["spec"]
        home = folders.home
        if len(groups) > 1:
            home = home / "reports" / f"{number + 1}-{spec['task']}-{spec['profile']}"
        paths = {
            name: os.path.relpath(path)
            for name, path in reports.render(group, home, baseline=baseline).items()
        }
        if as_json:
            written.append({"paths": paths, **reports.as_json(group, baseline=baseline)})
            continue
        print()
        _print(reports.terminal(group, baseline=baseline))
        plots = "  ".join(paths[name] for name in SHOWN[2:] if name in paths)
        print(f"\n table   {paths['table.md']}  {paths['table.csv']}")
        print(f" plots   {plots}  (and .svg)" if plots else " plots   none: nothing to draw")
        print(f" report  {paths['index.html']}")
    if as_json:
        print(json.dumps(written[0] if len(written) == 1 else written, indent=1))


def leaderboard(options: argparse.Namespace) -> int:
    """Rebuild or check the leaderboard of the published records."""
    from benchmarks.leaderboard import build as board

    if options.check:
        board.require_current(options.results)
        print("the leaderboard follows from the records")
        return 0
    for path in board.build(options.results).values():
        print(os.path.relpath(path))
    return 0


def claims(options: argparse.Namespace) -> int:
    """Print the verdict on every claim of the papers."""
    from benchmarks.claims import hypotheses
    from benchmarks.claims import judge as judging
    from benchmarks.leaderboard import claims_page
    from benchmarks.records import study_files

    if options.json and options.markdown:
        raise UsageError("--json and --markdown: one of them")
    if not options.results.is_dir():
        raise UsageError(f"--results {options.results}: no such folder; published records stand in results")
    inner = options.results / "records"
    problems: list[str] = []
    found = store.load_all(inner if inner.is_dir() else options.results, problems)
    judged = judging.judge(found, studies=study_files.load_all(options.results, problems))
    if options.json:
        papers = hypotheses.papers()
        print(json.dumps({"papers": papers, "claims": [v.to_dict() for v in judged]}, indent=1))
    elif options.markdown:
        print(claims_page.markdown(judged), end="")
    else:
        _print(claims_page.Terminal(judged))
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return 0


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)
