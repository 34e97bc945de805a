"""Study of the training that inherited weights save in translation."""
