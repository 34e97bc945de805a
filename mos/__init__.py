"""Mixture of supernets: architecture-routed experts as a weight source, and the search methods."""
