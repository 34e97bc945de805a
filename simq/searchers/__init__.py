"""Searchers over joint genomes: LINAS, NSGA-II, Bayesian optimisation, sequential and random search."""
