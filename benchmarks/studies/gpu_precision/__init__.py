"""Study ``gpu-precision``: latency of large networks and of wide layers in each precision of a GPU."""
