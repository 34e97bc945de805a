"""Producers of the tables of ``simq/tabular/data``: supernets, tables, held-out items and latency models."""
