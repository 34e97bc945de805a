"""Fast training on CUDA devices: fused Triton kernels and CUDA graphs of sub-layers. CPUs need none of it."""
