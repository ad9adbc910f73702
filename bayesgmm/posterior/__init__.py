"""What is read from draws: label arrays [S, N] and stacked mixtures."""
