"""Expected arrivals: jobs that are not here yet, learned from those of the past, and the room that is held for them."""
