"""Commands about the grid and the plan made for it."""
