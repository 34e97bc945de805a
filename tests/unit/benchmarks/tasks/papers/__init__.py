"""Tests of the papers' data, against a server on this machine."""
