"""The harness: equal budgets, declared hardware, sealed test splits, records that anyone can re-run."""
