"""Budgets and quotas beside the tick."""
