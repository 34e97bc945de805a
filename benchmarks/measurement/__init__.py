"""Measurement of latency, memory, energy and parity of exported networks."""
