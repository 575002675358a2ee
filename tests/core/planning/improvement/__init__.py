"""From a schedule to a better one."""
