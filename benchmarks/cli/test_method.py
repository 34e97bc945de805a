"""``supernet-bench test-method``: does a method do what every method must?"""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks import registry
from benchmarks.options import checked, parse

if TYPE_CHECKING:
    from benchmarks.conformance.checks import Check

SHORT = "mt-synthetic-en-de", "check"
"""The task and tier that a method is tried on."""


def test_methods(options: argparse.Namespace) -> int:
    """Try methods one after the other; 1 where one fails a check."""
    refs = [registry.find(word) for word in dict.fromkeys(options.methods)]
    given = parse(options.option)
    for name in set(given) - {ref.name for ref in refs}:
        then = "an option is METHOD.NAME=VALUE"
        raise registry.unknown("tested method", name, [r.name for r in refs], then)
    chosen = {ref.name: checked(ref.name, ref.options, given.get(ref.name, {})) for ref in refs}
    from benchmarks.cli.run import alone
    from benchmarks.runs.executor import Executor
    from benchmarks.tasks import get_task, prepare

    task = get_task(options.task or SHORT[0])
    tier_name = options.tier or (SHORT[1] if SHORT[1] in task.tiers() else task.tiers()[0])
    tier = task.tier(tier_name, "cpu")
    executor = Executor()
    executor.warm_up()
    from benchmarks.conformance.checks import FAILED, judge
    from benchmarks.conformance.suite import examine

    home = options.results / "test-method"
    shown = []
    with alone(home):
        say = _silent if options.json else print
        prepared = prepare(task, tier, options.results / "cache", options.data_dir, say)
        for ref in refs:
            if not options.json:
                print(f"{ref.name} ({ref.origin}) on {task.name}, tier {tier_name}", flush=True)
            own = home / ref.name
            checks = judge(examine(ref, task, tier_name, prepared, own, chosen[ref.name], executor))
            about = {"method": ref.name, "sha256": ref.sha256, "task": task.name, "tier": tier_name}
            about["ok"] = not any(check.verdict == FAILED for check in checks)
            shown.append(about | {"checks": [check.to_dict() for check in checks]})
            if not options.json:
                _show(checks, os.path.relpath(own / "whole" / "log.txt"))
    if options.json:
        print(json.dumps(shown, indent=1))
    return 0 if all(about["ok"] for about in shown) else 1


def _silent(_line: str) -> None:
    """For ``--json``: nothing but JSON is printed."""


def _show(checks: Sequence[Check], log: str) -> None:
    """The table, and a paragraph for each failure."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    failed = [check for check in checks if check.verdict == "FAILED"]
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("check", "verdict", "what was seen"):
        grid.add_column(head, no_wrap=head != "what was seen")
    styles = {"ok": "green", "FAILED": "bold red"}
    for check in checks:
        verdict = Text(check.verdict, style=styles.get(check.verdict, "dim"))
        grid.add_row(Text(check.name), verdict, Text(check.seen))
    console.print(grid)
    for check in failed:
        paragraph = f"{check.name}: {check.seen}. {check.why} {check.mend}"
        console.print(Text("\n" + textwrap.fill(paragraph, min(console.width, 100))), soft_wrap=True)
    open_ = len(checks) - len(failed) - sum(check.verdict == "ok" for check in checks)
    if failed:
        console.print(Text(f"\n{len(failed)} failed, {open_} not judged; log: {log}\n"))
    elif open_:
        console.print(Text(f"\nnothing failed, {open_} not judged\n"))
    else:
        console.print(Text("\nall checks passed\n"))
