"""From a situation to a plan: when each job starts, where, and why."""
