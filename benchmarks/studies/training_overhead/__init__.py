"""Time and memory that supernets of each kind take in training, in turns on one machine."""
