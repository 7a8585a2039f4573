"""What goes out: checks of the caller's output tensors, new ones, and the CPU memory that large ones take."""
