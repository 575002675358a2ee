"""Jobs and their runs: what is asked for, what becomes of it, and the reasons."""
