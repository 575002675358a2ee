"""Why a plan puts a job where it does: worked out when somebody asks, from what was kept of the plan."""
