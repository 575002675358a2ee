"""What is asked of the sources beside the engine's ticks: checks, backfill, prices, forecast quality."""
