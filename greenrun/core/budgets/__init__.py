"""What users and projects may use: quotas of what they hold at once, and budgets of what they use in a period."""
