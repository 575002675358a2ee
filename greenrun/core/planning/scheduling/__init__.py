"""Schedules that fit: the places of rows, what these are worth, and where there is room for more."""
