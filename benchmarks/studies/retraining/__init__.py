"""Studies of the training that inherited weights save, in translation and in encoders."""
