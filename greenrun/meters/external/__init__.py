"""External meters: a command or a URL that reports joules."""
