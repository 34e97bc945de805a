"""Second runs of published records, compared with the first."""
