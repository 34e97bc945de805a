"""Study ``deployed-sizes``: latency of large networks in each precision of each runtime."""
