"""Comparability of runs: summaries of records, and which of them may share a table."""
