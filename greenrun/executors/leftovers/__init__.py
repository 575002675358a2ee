"""What runs leave in the state folder: their checkpoints, and what is alive without a database that knows it."""
