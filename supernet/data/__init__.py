"""Batches of sentence pairs, masked text and images."""
