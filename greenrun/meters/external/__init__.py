"""Meters outside of this host's drivers: a command or an address that tells joules."""
