"""What does the network see? Preflight, the encoded store, the sampler, the planted genome."""
