"""Native kernels, each beside its PyTorch reference; built at first use, never required."""
