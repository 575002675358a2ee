"""CPUs and their DRAM, and the CPU time of each run."""
