"""Tests of the documentation: ``nox -s docs`` builds the pages, then runs these."""
