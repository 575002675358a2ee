"""What should happen and what did happen, as pure functions: no I/O, no clock, no logging."""
