"""Reports of one comparison, from a table alone: texts, data files, plots, console. Imports no torch."""
