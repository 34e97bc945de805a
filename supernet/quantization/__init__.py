"""Mixed-precision policies: rounding, torch and ONNX Runtime back-ends, fake quantization, a latency
prior."""
