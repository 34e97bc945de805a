"""Scoring of exported candidates on the sealed test split."""
