"""Meters without hardware: energy from stated powers and from who holds a device when."""
