"""Budgets on the terminal."""
