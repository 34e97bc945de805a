"""The papers' claims and their verdicts from records and studies. Imports no torch."""
