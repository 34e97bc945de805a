"""Training and validation batches: sentence pairs, masked text and images."""
