"""What the kernels compile to, for any architecture and without a GPU: their machine code, counted."""
