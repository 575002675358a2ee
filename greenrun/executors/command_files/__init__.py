"""The files that a job's command consists of or reads: whether it could be executed, and what has become of them."""
