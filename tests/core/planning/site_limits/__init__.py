"""What a site keeps from jobs."""
