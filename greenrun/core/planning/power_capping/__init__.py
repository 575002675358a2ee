"""When the power limit of a running job's GPUs is lowered, and what that does to how long it takes: pure rules."""
