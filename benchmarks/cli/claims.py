"""``supernet-bench claims``: the verdict of the records on every claim of the papers."""

from __future__ import annotations

import argparse
import sys

from benchmarks.api import UsageError
from benchmarks.cli.arguments import add_json, add_results
from benchmarks.cli.console import print_json, print_rich
from benchmarks.records import store
from benchmarks.records.folders import PUBLISHED, readable, require_records


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_results(command, PUBLISHED, "a folder of records, or one with records/ in it")
    command.add_argument("--markdown", action="store_true", help="print Markdown")
    add_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the verdict on every claim of the papers; return 0.

    Raises:
        UsageError: both formats are chosen, or the folder does not exist.
    """
    from benchmarks.claims import hypotheses
    from benchmarks.claims import judge as judging
    from benchmarks.leaderboard import claims_page
    from benchmarks.records import study_files

    if options.json and options.markdown:
        raise UsageError("--json and --markdown: choose one of them")
    results = readable(options.results)
    if not results.is_dir():
        require_records(results)
    inner = results / "records"
    problems: list[str] = []
    records = store.load_all(inner if inner.is_dir() else results, problems)
    verdicts = judging.judge(records, studies=study_files.load_all(results, problems))
    if options.json:
        papers = hypotheses.papers()
        print_json({"papers": papers, "claims": [verdict.to_dict() for verdict in verdicts]})
    elif options.markdown:
        print(claims_page.markdown(verdicts), end="")
    else:
        print_rich(claims_page.TerminalClaims(verdicts))
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return 0
