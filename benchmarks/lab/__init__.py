"""The Lab that a method gets: ledger, journal, checkpoints, batches, probes, candidates."""
