"""The page in a browser: what runs, what waits, how clean the grid is, and what was avoided."""
