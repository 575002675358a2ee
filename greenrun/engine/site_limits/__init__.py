"""What a site keeps from jobs, as the engine knows it."""
