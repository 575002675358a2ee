"""What GPUs draw together, watched against the cap of the site."""
