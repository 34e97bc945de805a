"""Exchange with other people's toolkits: fairseq's data, dictionaries and checkpoints, HAT's checkpoints and
configurations. Needs none of those toolkits and runs no code that stands in a file."""
