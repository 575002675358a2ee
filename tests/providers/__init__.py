"""Tests of the carbon-intensity sources."""
