"""Robustness, measured: random kills of a real command, and mutated files for every reader."""
