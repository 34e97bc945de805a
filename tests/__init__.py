"""Tests of the packages; ``unit`` mirrors them, folder by folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Top of the checkout."""
