"""Study of the gap between inherited weights and training alone in translation."""
