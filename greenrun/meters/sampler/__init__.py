"""The sampler: a process that owns a meter, so that a driver that hangs does not hang the daemon."""
