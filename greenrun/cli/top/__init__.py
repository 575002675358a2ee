"""`greenrun top`: what the daemon does now, live."""
