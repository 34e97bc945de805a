"""Latency tables that others published, as devices."""
