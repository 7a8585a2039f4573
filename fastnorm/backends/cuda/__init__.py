"""The backend of CUDA (and ROCm) devices: the Triton kernels of `fastnorm_kernels`."""
