"""How much of GPUs and power is taken when, as step functions of time."""
