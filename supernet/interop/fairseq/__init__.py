"""Exchange with fairseq: data, dictionaries, checkpoints and training."""
