"""From a schedule that fits to a better one, in a number of steps that is bounded beforehand."""
