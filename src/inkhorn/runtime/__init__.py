"""Generation without torch: the forward pass in NumPy, the sampler, stopping, and the engine that joins them."""
