"""The parts of `greenrun demo`: a made-up grid, eight jobs, a real daemon in a folder of its own, and two views."""
