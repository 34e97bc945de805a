"""Networks of published rows for other runtimes."""
