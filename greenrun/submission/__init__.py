"""How people state jobs: options and their text, times, sweeps, and what a job inherits from where it is submitted."""
