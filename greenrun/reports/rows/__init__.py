"""The rows of a report: which parts, runs and jobs belong together, and every figure of them, as columns."""
