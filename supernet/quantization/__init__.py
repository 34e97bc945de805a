"""Low precision: rounding, kernels, fake quantisation, ONNX lowering, latency model."""
