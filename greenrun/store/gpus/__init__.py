"""What is kept of GPUs."""
