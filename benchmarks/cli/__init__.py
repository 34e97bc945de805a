"""The command line ``supernet-bench``."""
