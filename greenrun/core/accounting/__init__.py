"""Accounting beside the location-based average: tariffs, market-based factors, embodied emissions, periods."""
