"""Training: examples in, a better model out."""
