"""The conformance suite: checks that every method must pass."""
