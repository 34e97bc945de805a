"""Study of fronts of translation, searched at several latency limits."""
