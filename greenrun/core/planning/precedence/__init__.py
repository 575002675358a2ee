"""Who goes first: higher priority before lower, and jobs that are not to wait before those that may."""
