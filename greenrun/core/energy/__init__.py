"""From readings to priced slices: what was used, by whom, and what that emitted."""
