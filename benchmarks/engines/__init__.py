"""Engines that start workers on other machines; each one only starts ``supernet-bench work``."""
