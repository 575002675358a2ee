"""A site's cap on the power of all its GPUs together: what counts towards it, and what is left of it when."""
