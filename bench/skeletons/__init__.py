"""Models of the full architectures with random weights, to measure what their shape costs."""
