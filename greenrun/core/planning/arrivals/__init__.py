"""Expected arrivals: jobs that are not here yet, learned from those of the past, and what they are left of the GPUs."""
