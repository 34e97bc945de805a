"""Intervals, quantities, quantiles, BLEU and paired tests. Imports no torch."""
