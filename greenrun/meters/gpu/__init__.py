"""GPUs by their vendor's driver."""
