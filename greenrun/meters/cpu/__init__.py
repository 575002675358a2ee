"""CPUs and their memory, and whose CPU time it was."""
