"""The loop, `tick(now)`, and the rooms that it reads like a table of contents."""
