"""Runs of jobs: what an executor tells of them, which device they hold, how they end, what follows, what is unusual."""
