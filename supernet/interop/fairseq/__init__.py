"""fairseq's data, dictionaries, checkpoints and training."""
