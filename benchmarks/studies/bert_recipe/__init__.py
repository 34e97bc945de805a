"""Pilots of BERT's recipe: rows, batch, rate and budget of the parent and of each kind of supernet."""
