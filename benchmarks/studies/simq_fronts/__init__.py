"""Measured fronts of joint searches against uniform INT8: deployment latency, size and held-out accuracy."""
