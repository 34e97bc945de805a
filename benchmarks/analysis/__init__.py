"""Comparison of runs: which may share a table, means and intervals, pairs, footnotes. Imports no torch."""
