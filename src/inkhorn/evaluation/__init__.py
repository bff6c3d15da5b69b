"""Loss and log-likelihood of texts, and benchmarks."""
