"""Jobs that may be suspended: where their time is cheapest, what they cost at least, and schedules made of it."""
