"""Who is let in from a browser or over TCP: `greenrun web`, `token` and `session`."""
