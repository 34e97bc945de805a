"""Plans and their execution: supervision, workers, estimates, progress."""
