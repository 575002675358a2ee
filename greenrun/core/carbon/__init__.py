"""Carbon intensity: series of slots, forecasts, and what to go by when they fail."""
