"""Meters without hardware: energy modelled from stated powers and from when runs hold a device."""
