"""Set the power limits of GPUs through their drivers, in a process of its own: a driver's call may hang."""
