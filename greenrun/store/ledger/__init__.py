"""What was used and what it emitted, as rows: slices, prices, baselines, and sums for jobs, reports and metrics."""
