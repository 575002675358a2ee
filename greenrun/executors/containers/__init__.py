"""Jobs in containers: which engine makes them, and what it is told."""
